"""Figures of a classifier from its probabilities and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_calibration.confidence import expected_calibration_error, negative_log_likelihood
from heme_edge.errors import HemeError


def confusion_matrix(
    truth: Sequence[str], named: Sequence[str], codes: Sequence[str]
) -> NDArray[np.int64]:
    """Counts ``[true, named]`` in the order of ``codes``."""
    index = {code: i for i, code in enumerate(codes)}
    matrix = np.zeros((len(codes), len(codes)), np.int64)
    for t, n in zip(truth, named, strict=True):
        matrix[index[t], index[n]] += 1
    return matrix


def class_scores(matrix: NDArray[np.int64], codes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of every class with a true example; 0 where undefined."""
    scores = {}
    for i, code in enumerate(codes):
        n, named, hit = int(matrix[i].sum()), int(matrix[:, i].sum()), int(matrix[i, i])
        if n == 0:
            continue
        scores[code] = {
            "n": n,
            "precision": hit / named if named else 0.0,
            "recall": hit / n,
            "f1": 2 * hit / (n + named),
        }
    return scores


def summarise(
    probabilities: NDArray[np.floating[Any]], truth: Sequence[str], codes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, macro means, ECE, NLL and the scores of each class.

    An argmax over all ``codes`` is taken; a true class the model does not know counts as
    wrong every time. Classes without a true example are left out of the means and named.

    Args:
        probabilities: ``[N, C]``, columns in the order of ``codes``.
        truth: true code of each row.
        codes: what the model knows.

    Raises:
        HemeError: there is no row.
    """
    if not len(truth):
        raise HemeError("There are no crops to evaluate on.", "Check --role, --source and --code")
    everything = list(codes) + sorted(set(truth) - set(codes))
    named = [codes[i] for i in probabilities.argmax(axis=1)]
    matrix = confusion_matrix(truth, named, everything)
    per_class = class_scores(matrix, everything)
    known = np.array([t in codes for t in truth])
    target = np.array([codes.index(t) for t in truth if t in codes])
    macro = {
        key: float(np.mean([s[key] for s in per_class.values()]))
        for key in ("precision", "recall", "f1")
    }
    result: dict[str, Any] = {
        "n": len(truth),
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "macro": macro,
        "per_class": per_class,
        "without_example": [c for c in codes if c not in per_class],
        "never_trained": sorted(set(truth) - set(codes)),
    }
    if known.all():
        result["ece"] = expected_calibration_error(probabilities, target)
        result["nll"] = negative_log_likelihood(probabilities, target)
    return result


def restricted(
    probabilities: NDArray[np.floating[Any]], codes: Sequence[str], kept: Sequence[str]
) -> NDArray[np.float64]:
    """The same probabilities with every class but ``kept`` ruled out, summing to 1."""
    mask = np.array([code in kept for code in codes])
    left = np.where(mask, np.asarray(probabilities, np.float64), 0.0)
    return np.asarray(left / np.maximum(left.sum(axis=1, keepdims=True), 1e-12))
