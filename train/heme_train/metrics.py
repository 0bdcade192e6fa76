"""Figures of a classifier from its probabilities and the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_calibration.confidence import expected_calibration_error, negative_log_likelihood
from heme_edge.errors import HemeError
from heme_train.confusions import neighbour_errors

Floats = NDArray[np.floating[Any]]
SUM_TOLERANCE = 1e-3
"""How far the sum of a row of probabilities may be from 1."""
HIGH = 0.8
"""Precision and recall of a high-performance class are at least this, as in the paper."""
MEANS = ("auc", "precision", "recall", "f1")


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
    """Precision, recall, F1 and accuracy of every class with a true example.

    Precision is 0 where nothing was named so. Accuracy is that of one class against the rest,
    (TP + TN) / N, as in the paper's tables.
    """
    scores = {}
    total = int(matrix.sum())
    for i, code in enumerate(codes):
        n, named, hit = int(matrix[i].sum()), int(matrix[:, i].sum()), int(matrix[i, i])
        if n == 0:
            continue
        scores[code] = {
            "n": n,
            "precision": hit / named if named else 0.0,
            "recall": hit / n,
            "f1": 2 * hit / (n + named),
            "accuracy": (total - n - named + 2 * hit) / total,
        }
    return scores


def area_under_curve(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve from ranks (Mann and Whitney 1947); ties count one half.

    Args:
        scores: ``[N]``, higher for the class.
        positive: ``[N]``, whether the row is of the class.

    Returns:
        0 to 1, or None where all rows or none are of the class.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    wins = middle_ranks[place][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def normalised(probabilities: Floats) -> NDArray[np.float64]:
    """Rows divided by their sum where any sum is further than 1e-3 from 1, else as they are."""
    rows = np.asarray(probabilities, np.float64)
    sums = rows.sum(axis=1, keepdims=True)
    if np.all(np.abs(sums - 1) <= SUM_TOLERANCE):
        return rows
    return np.asarray(rows / np.maximum(sums, 1e-12))


def top_two_right(probabilities: Floats, target: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Whether each row's true column is among its two largest; of equal ones the first wins.

    Args:
        probabilities: ``[N, C]``.
        target: true column of each row, or -1 where the model has none.
    """
    two = np.argsort(-np.asarray(probabilities, np.float64), axis=1, kind="stable")[:, :2]
    return np.asarray((two == target[:, None]).any(axis=1))


def targets(truth: Sequence[str], codes: Sequence[str]) -> NDArray[np.intp]:
    """Column of each true code, -1 for a class that is not among ``codes``."""
    index = {code: i for i, code in enumerate(codes)}
    return np.array([index.get(t, -1) for t in truth], np.intp)


def all_codes(truth: Sequence[str], codes: Sequence[str]) -> list[str]:
    """The model's codes in their order, then the true codes it does not know."""
    return list(codes) + sorted(set(truth) - set(codes))


def summarise(probabilities: Floats, truth: Sequence[str], codes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro means, ECE, NLL and the scores of each class.

    An argmax over all ``codes`` is taken (of equal columns the first wins); a true class the
    model does not know counts as wrong every time. Classes without a true example are left out
    of the means and named. An AUC that does not exist (no row of another class, or no column)
    is None and left out of its mean. Rows that do not sum to 1 are divided by their sum for ECE
    and NLL only; both are missing where a true class is unknown to the model.

    Args:
        probabilities: ``[N, C]``, columns in the order of ``codes``.
        truth: true code of each row.
        codes: what the model knows.

    Raises:
        HemeError: there is no row.
    """
    if not len(truth):
        raise HemeError("There are no crops to evaluate on.", "Check --role, --source and --code")
    everything, target = all_codes(truth, codes), targets(truth, codes)
    named = [codes[i] for i in probabilities.argmax(axis=1)]
    matrix = confusion_matrix(truth, named, everything)
    per_class = _with_auc(class_scores(matrix, everything), probabilities, target, codes)
    high = [c for c, s in per_class.items() if min(s["precision"], s["recall"]) >= HIGH]
    result: dict[str, Any] = {
        "n": len(truth),
        "accuracy": float(np.trace(matrix) / matrix.sum()),
        "macro": {key: mean_of(s[key] for s in per_class.values()) for key in MEANS},
        "top2": float(top_two_right(probabilities, target).mean()),
        "high_performance_classes": len(high),
        "high_performance": high,
        "neighbour_errors": neighbour_errors(matrix, everything),
        "per_class": per_class,
        "without_example": [c for c in codes if c not in per_class],
        "never_trained": sorted(set(truth) - set(codes)),
    }
    if (target >= 0).all():
        rows = normalised(probabilities)
        result["ece"] = expected_calibration_error(rows, target)
        result["nll"] = negative_log_likelihood(rows, target)
    return result


def _with_auc(
    scores: dict[str, dict[str, float]],
    probabilities: Floats,
    target: NDArray[np.intp],
    codes: Sequence[str],
) -> dict[str, dict[str, Any]]:
    column = {code: i for i, code in enumerate(codes)}
    return {
        code: {
            "n": s["n"],
            "auc": area_under_curve(probabilities[:, column[code]], target == column[code])
            if code in column
            else None,
            **s,
        }
        for code, s in scores.items()
    }


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the values that exist; None where none does."""
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None


def restricted(
    probabilities: Floats, codes: Sequence[str], kept: Sequence[str]
) -> NDArray[np.float64]:
    """The same probabilities with every class but ``kept`` ruled out, summing to 1."""
    mask = np.array([code in kept for code in codes])
    left = np.where(mask, np.asarray(probabilities, np.float64), 0.0)
    return np.asarray(left / np.maximum(left.sum(axis=1, keepdims=True), 1e-12))
