"""95 % intervals by drawing whole groups (slides, patients) again and again.

Cells of one slide are alike, so an interval that treats them as independent is too narrow;
groups are drawn with replacement and everything is counted anew (the cluster bootstrap, Davison
and Hinkley 1997, section 3.8, percentile interval).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
DRAWS = 1000
AT_ONCE = 4_000_000
"""Numbers held while drawing: draws at a time x groups."""


@dataclass(frozen=True)
class Resampling:
    """The same draws of groups for every figure of a report.

    Attributes:
        place: number of each row's group ``[N]``.
        groups: how many there are.
        draws: how often they are drawn.
        seed: of the draws.
    """

    place: NDArray[np.intp]
    groups: int
    draws: int = DRAWS
    seed: int = 0

    @classmethod
    def of(cls, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> Resampling:
        """From the group of each row."""
        names, place = np.unique(np.asarray(groups, np.str_), return_inverse=True)
        return cls(np.asarray(place, np.intp).reshape(-1), len(names), draws, seed)

    def totals(self, columns: Floats) -> NDArray[np.float64]:
        """Column sums ``[draws, K]`` of rows ``[N, K]`` in every draw."""
        return self._draw(
            np.stack(
                [np.bincount(self.place, column, minlength=self.groups) for column in columns.T],
                axis=1,
            )
        )

    def counts(self, kind: NDArray[np.intp], kinds: int) -> NDArray[np.float64]:
        """How many rows of each kind every draw holds, ``[draws, kinds]``."""
        flat = np.bincount(self.place * kinds + kind, minlength=self.groups * kinds)
        return self._draw(flat.reshape(self.groups, kinds).astype(np.float64))

    def groups_with(self, mask: NDArray[np.bool_]) -> int:
        """How many groups hold a row of ``mask``."""
        return len(np.unique(self.place[mask]))

    def _draw(self, per_group: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([weights @ per_group for weights in self._weights()])

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        """How often each group is in each draw, ``[some draws, groups]`` at a time."""
        rng = np.random.default_rng(self.seed)
        step = max(1, AT_ONCE // max(1, self.groups))
        for at in range(0, self.draws, step):
            rows = min(step, self.draws - at)
            drawn = rng.integers(0, self.groups, (rows, self.groups))
            drawn += np.arange(rows)[:, None] * self.groups
            times = np.bincount(drawn.ravel(), minlength=rows * self.groups)
            yield times.reshape(rows, self.groups).astype(np.float64)


def interval(values: Floats) -> list[float] | None:
    """2.5th and 97.5th percentile of the draws in which the figure exists; None if in none."""
    present = values[~np.isnan(values)]
    if not len(present):
        return None
    low, high = np.percentile(present, (2.5, 97.5))
    return [float(low), float(high)]


def ratio(over: Floats, under: Floats) -> NDArray[np.float64]:
    """Their quotient, nan where ``under`` is 0."""
    out: NDArray[np.float64] = np.full(np.shape(over), np.nan)
    np.divide(over, under, out=out, where=np.asarray(under) > 0)
    return out


def share_intervals(sampling: Resampling, over: Floats, under: Floats) -> list[list[float] | None]:
    """Intervals of K shares, each the sum of ``over`` by that of ``under``, both ``[N, K]``."""
    totals = sampling.totals(np.concatenate([over, under], axis=1).astype(np.float64))
    shares = ratio(*np.split(totals, 2, axis=1))
    return [interval(values) for values in shares.T]


def score_intervals(
    sampling: Resampling, truth: NDArray[np.intp], named: NDArray[np.intp], codes: Sequence[str]
) -> dict[str, Any]:
    """Intervals of accuracy, of the macro means, and of each class's scores.

    A class that a draw does not hold is left out of that draw's means. A class found in fewer
    than two groups has no interval.

    Args:
        sampling: the draws.
        truth, named: class numbers ``[N]`` into ``codes``.
        codes: every class that is true or named somewhere.
    """
    n, hits, called = _resampled_counts(sampling, truth, named, len(codes))
    scores = {
        "precision": np.where(n > 0, np.where(called > 0, ratio(hits, called), 0.0), np.nan),
        "recall": ratio(hits, n),
        "f1": np.where(n > 0, ratio(2 * hits, n + called), np.nan),
    }
    result: dict[str, Any] = {"accuracy": interval(ratio(hits.sum(1), n.sum(1)))}
    for key, values in scores.items():
        result[f"macro_{key}"] = interval(np.nanmean(values, axis=1))
    result["per_class"] = {
        code: {key: interval(values[:, i]) for key, values in scores.items()}
        for i, code in enumerate(codes)
        if sampling.groups_with(truth == i) >= 2
    }
    return result


def _resampled_counts(
    sampling: Resampling, truth: NDArray[np.intp], named: NDArray[np.intp], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """True, right and named counts ``[draws, size]``; only cells that occur are drawn."""
    cells, kind = np.unique(truth * size + named, return_inverse=True)
    drawn = sampling.counts(np.asarray(kind, np.intp).reshape(-1), len(cells))
    of_true, of_named = np.divmod(cells, size)
    every = np.arange(size)
    n = drawn @ (of_true[:, None] == every)
    called = drawn @ (of_named[:, None] == every)
    hits = drawn @ ((of_true == of_named)[:, None] & (of_true[:, None] == every))
    return n, hits, called
