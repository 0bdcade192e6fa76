"""How right the surest answers are, and whether a confidence means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.tally import wilson

Floats = NDArray[np.floating[Any]]
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7)
"""Coverages of the report."""
CURVE = tuple(round(1 - i / 100, 2) for i in range(51))
"""Coverages of the curve: 100 % down to 50 %."""
BINS = 15
"""Of the reliability diagram, and of the ECE it belongs to."""


def kept_weights(confidence: Floats, share: float) -> tuple[NDArray[np.float64], float]:
    """Which rows are kept when only the surest ``share`` of them is named.

    The number kept is ``share * N`` to the nearest whole, at least one. Where rows of equal
    confidence lie across the border, each counts with the share of them there is room for, so
    that the order of the rows changes nothing.

    Returns:
        weights ``[N]`` of 0 to 1 that sum to the number kept, and the lowest confidence kept.
    """
    n = len(confidence)
    kept = max(1, int(np.floor(share * n + 0.5)))
    threshold = np.sort(confidence)[n - kept]
    above, equal = confidence > threshold, confidence == threshold
    weights = above.astype(np.float64)
    weights[equal] = (kept - above.sum()) / equal.sum()
    return weights, float(threshold)


def coverage_weights(confidence: Floats, shares: Sequence[float] = SHARES) -> NDArray[np.float64]:
    """``kept_weights`` of several shares as columns ``[N, S]``."""
    return np.stack([kept_weights(confidence, share)[0] for share in shares], axis=1)


def coverage_accuracy(
    confidence: Floats, right: NDArray[np.bool_], shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """Accuracy among the surest rows.

    Args:
        confidence: probability of the winner ``[N]``, N > 0.
        right: whether it is the true class ``[N]``.
        shares: coverages, 0 to 1.

    Returns:
        per share ``{"coverage", "kept", "threshold", "accuracy"}``.
    """
    rows = []
    for share in shares:
        weights, threshold = kept_weights(confidence, share)
        kept = round(float(weights.sum()))
        accuracy = float((weights * right).sum() / weights.sum())
        rows.append({"coverage": share, "kept": kept, "threshold": threshold, "accuracy": accuracy})
    return rows


def reliability_bins(
    confidence: Floats, right: NDArray[np.bool_], bins: int = BINS
) -> list[dict[str, Any]]:
    """Confidence against accuracy in bins of equal width, those of the ECE.

    Returns:
        per bin ``{"low", "high", "n", "confidence", "accuracy", "interval"}``: mean confidence,
        share right and its 95 % Wilson interval; the last three are None in an empty bin.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for b in range(bins):
        inside = place == b
        n, hits = int(inside.sum()), int(right[inside].sum())
        rows.append(
            {
                "low": b / bins,
                "high": (b + 1) / bins,
                "n": n,
                "confidence": float(confidence[inside].mean()) if n else None,
                "accuracy": hits / n if n else None,
                "interval": list(wilson(hits, n)) if n else None,
            }
        )
    return rows
