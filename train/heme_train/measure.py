"""Every figure of the report from one set of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_train.answers import Answers
from heme_train.bootstrap import Resampling, score_intervals, share_intervals
from heme_train.confusions import confused_pairs, neighbour_table
from heme_train.coverage import (
    CURVE,
    SHARES,
    coverage_accuracy,
    coverage_weights,
    reliability_bins,
)
from heme_train.metrics import (
    MEANS,
    all_codes,
    confusion_matrix,
    normalised,
    restricted,
    summarise,
    targets,
    top_two_right,
)

NO_GROUP = (
    "No group (slide, patient) is known: each image is its own group, so the intervals are too "
    "narrow where several images come from one slide."
)
ONE_GROUP = "All images are of one group, so there is no interval."
ONE_CLASS_GROUPS = (
    "Every group holds one class, so groups are no slides, and drawing them also changes the mix "
    "of classes: the intervals of precision and F1 reach too far down."
)
PER_CLASS = ("auc", "precision", "recall", "f1", "accuracy")


@dataclass(frozen=True)
class Measured:
    """The figures, and what the drawings need beside them.

    Attributes:
        title: what was measured.
        metrics: the content of metrics.json.
        codes: order of ``confusion``.
        confusion: counts ``[true, named]``.
        curve: ``coverage`` rows from 100 % down to 50 %, one per percent.
    """

    title: str
    metrics: dict[str, Any]
    codes: tuple[str, ...]
    confusion: NDArray[np.int64]
    curve: list[dict[str, Any]]


def measure(answers: Answers) -> Measured:
    """All figures of the answers.

    Raises:
        HemeError: there is no row.
    """
    metrics = summarise(answers.probabilities, answers.truth, answers.codes)
    codes = all_codes(answers.truth, answers.codes)
    index = {code: i for i, code in enumerate(codes)}
    truth = np.array([index[t] for t in answers.truth], np.intp)
    named = np.asarray(answers.probabilities.argmax(axis=1), np.intp)
    confidence = normalised(answers.probabilities).max(axis=1)
    curve = coverage_accuracy(confidence, named == truth, CURVE)
    sampling = Resampling.of(answers.groups)
    metrics |= {
        "restricted": _restricted(answers),
        "coverage": coverage_accuracy(confidence, named == truth),
        "reliability": reliability_bins(confidence, named == truth),
    }
    _add_intervals(metrics, curve, answers, sampling, (truth, named, confidence), codes)
    matrix = confusion_matrix(answers.truth, [answers.codes[i] for i in named], codes)
    metrics["confused_pairs"] = confused_pairs(matrix, codes)
    if answers.members is not None and len(answers.members) > 1:
        metrics["members"] = member_scores(answers)
    metrics |= {"notes": _notes(answers, sampling), "warnings": list(answers.warnings)}
    return Measured(answers.title, answers.about | metrics, tuple(codes), matrix, curve)


def _restricted(answers: Answers) -> dict[str, Any]:
    """Accuracy and means when only a class that occurs among the true ones may be named."""
    closed = restricted(answers.probabilities, answers.codes, sorted(set(answers.truth)))
    only = summarise(closed, answers.truth, answers.codes)
    return {"accuracy": only["accuracy"], "macro": only["macro"]}


def _notes(answers: Answers, sampling: Resampling) -> list[str]:
    notes = list(answers.notes)
    if not answers.grouped:
        notes.append(NO_GROUP)
    elif sampling.groups < 2:
        notes.append(ONE_GROUP)
    elif len(set(answers.truth)) > 1 and _one_class_each(answers, sampling.groups):
        notes.append(ONE_CLASS_GROUPS)
    return notes


def _one_class_each(answers: Answers, groups: int) -> bool:
    return len(set(zip(answers.groups, answers.truth, strict=True))) == groups


def _add_intervals(
    metrics: dict[str, Any],
    curve: list[dict[str, Any]],
    answers: Answers,
    sampling: Resampling,
    rows: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]],
    codes: list[str],
) -> None:
    """Intervals of all figures, from the same draws of groups."""
    about: dict[str, Any] = {
        "by": "group" if answers.grouped else "image",
        "groups": sampling.groups,
        "draws": sampling.draws,
    }
    metrics["intervals"] = about
    if sampling.groups < 2:
        return
    truth, named, confidence = rows
    about |= score_intervals(sampling, truth, named, codes)
    two = top_two_right(answers.probabilities, targets(answers.truth, answers.codes))
    near = neighbour_table(codes)[truth, named]
    kept = coverage_weights(confidence, (*SHARES, *CURVE))
    found = share_intervals(
        sampling,
        over=np.column_stack([two, near, kept * (named == truth)[:, None]]),
        under=np.column_stack([np.ones(len(truth)), named != truth, kept]),
    )
    about["top2"], about["neighbour_errors"] = found[:2]
    for row, bounds in zip((*metrics["coverage"], *curve), found[2:], strict=True):
        row["interval"] = bounds


def member_scores(answers: Answers) -> dict[str, Any]:
    """Mean and standard deviation over an ensemble's networks, each measured by itself.

    Returns:
        ``{"n", "names", "accuracy", "macro": {…}, "ece", "nll", "per_class": {code: {…}}}``, a
        figure being ``{"mean", "sd", "each"}``; sd has M - 1 below the line. A figure that a
        network does not have is None there and left out.
    """
    assert answers.members is not None
    each = [summarise(p, answers.truth, answers.codes) for p in answers.members]
    return {
        "n": len(each),
        "names": list(answers.member_names),
        **{key: _spread([m.get(key) for m in each]) for key in ("accuracy", "ece", "nll", "top2")},
        "high_performance_classes": _spread([m["high_performance_classes"] for m in each]),
        "macro": {key: _spread([m["macro"][key] for m in each]) for key in MEANS},
        "per_class": {
            code: {key: _spread([m["per_class"][code][key] for m in each]) for key in PER_CLASS}
            for code in each[0]["per_class"]
        },
    }


def _spread(values: list[float | None]) -> dict[str, Any]:
    present = [v for v in values if v is not None]
    return {
        "mean": float(np.mean(present)) if present else None,
        "sd": float(np.std(present, ddof=1)) if len(present) > 1 else None,
        "each": values,
    }
