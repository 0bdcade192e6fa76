"""Coverage, reliability, intervals by group, members: each against a slow or known answer."""

import time
from dataclasses import replace

import numpy as np
import pytest

from heme_calibration.confidence import expected_calibration_error
from heme_train.answers import Answers
from heme_train.bootstrap import Resampling, interval, score_intervals
from heme_train.coverage import coverage_accuracy, reliability_bins
from heme_train.measure import NO_GROUP, ONE_CLASS_GROUPS, ONE_GROUP, measure
from heme_train.metrics import summarise
from heme_train.worsen import AS_IT_IS, Worsening
from tests.conftest import draw_cell

CODES = ("M1", "M2", "M3")


def answers(n: int = 200, groups: int = 20, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), n)
    named = p.argmax(1)
    truth = np.where(rng.random(n) < 0.7, named, rng.integers(0, 3, n))
    return Answers(
        CODES,
        p,
        tuple(CODES[i] for i in truth),
        tuple(f"slide{i}" for i in rng.integers(0, groups, n)),
        True,
        "a table",
    )


def test_coverage_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    rows = coverage_accuracy(confidence, np.array([True, True, False, True]), (1.0, 0.75, 0.5))
    assert [r["kept"] for r in rows] == [4, 3, 2]
    assert [r["accuracy"] for r in rows] == pytest.approx([0.75, 2 / 3, 1.0])
    assert [r["threshold"] for r in rows] == [0.6, 0.7, 0.8]


def test_equal_confidences_do_not_depend_on_the_order_of_rows() -> None:
    confidence = np.array([0.9, 0.5, 0.5, 0.5])
    for right in ([1, 1, 0, 0], [1, 0, 0, 1]):
        row = coverage_accuracy(confidence, np.array(right, bool), (0.5,))[0]
        assert row["accuracy"] == pytest.approx((1 + 1 / 3) / 2)


def test_the_bins_are_those_of_the_ece() -> None:
    a = answers()
    target = np.array([CODES.index(t) for t in a.truth])
    best, right = a.probabilities.max(1), a.probabilities.argmax(1) == target
    bins = reliability_bins(best, right)
    full = [b for b in bins if b["n"]]
    assert sum(b["n"] for b in bins) == 200
    ece = sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in full) / 200
    assert ece == pytest.approx(expected_calibration_error(a.probabilities, target))
    assert bins[0]["accuracy"] is None
    assert all(b["interval"][0] <= b["accuracy"] <= b["interval"][1] for b in full)


def test_intervals_are_those_of_drawing_groups_one_by_one() -> None:
    a = answers(80, 6)
    sampling = Resampling.of(a.groups, draws=40, seed=3)
    truth = np.array([CODES.index(t) for t in a.truth])
    found = score_intervals(sampling, truth, a.probabilities.argmax(1), CODES)
    names, rng = sorted(set(a.groups)), np.random.default_rng(3)
    slow: dict[str, list[float]] = {"accuracy": [], "f1": []}
    for drawn in rng.integers(0, 6, (40, 6)):
        rows = [i for g in drawn for i in range(80) if a.groups[i] == names[g]]
        m = summarise(a.probabilities[rows], [a.truth[i] for i in rows], CODES)
        slow["accuracy"].append(m["accuracy"])
        slow["f1"].append(m["macro"]["f1"])
    assert found["accuracy"] == pytest.approx(interval(np.array(slow["accuracy"])))
    assert found["macro_f1"] == pytest.approx(interval(np.array(slow["f1"])))


def test_groups_widen_the_interval_and_it_is_quick() -> None:
    """Slides that are wholly right or wrong: 30 of them tell as much as 30 cells."""
    right = np.repeat(np.arange(30) % 2 == 0, 100)
    p = np.where(right[:, None], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1])
    groups = tuple(f"s{i // 100}" for i in range(3000))
    a = Answers(CODES, p, ("M1",) * 3000, groups, True, "slides")
    started = time.monotonic()
    by_slide = measure(a).metrics["intervals"]["accuracy"]
    by_image = measure(replace(a, groups=tuple(map(str, range(3000))))).metrics["intervals"]
    assert time.monotonic() - started < 20
    assert by_slide[1] - by_slide[0] > 0.3
    assert by_image["accuracy"][1] - by_image["accuracy"][0] < 0.05


def test_what_groups_are_is_said() -> None:
    a = answers()
    assert measure(a).metrics["notes"] == []
    assert NO_GROUP in measure(replace(a, grouped=False)).metrics["notes"]
    one = measure(replace(a, groups=("s",) * 200)).metrics
    assert ONE_GROUP in one["notes"]
    assert "accuracy" not in one["intervals"]
    assert ONE_CLASS_GROUPS in measure(replace(a, groups=a.truth)).metrics["notes"]


def test_a_class_of_one_group_has_no_interval() -> None:
    p = np.eye(3)[[0, 0, 1]]
    a = Answers(CODES, p, ("M1", "M1", "M2"), ("a", "b", "b"), True, "x")
    assert set(measure(a).metrics["intervals"]["per_class"]) == {"M1"}


def test_members_have_a_mean_and_a_deviation() -> None:
    a = answers()
    members = np.stack([a.probabilities, answers(seed=1).probabilities])
    m = measure(replace(a, members=members, member_names=("fold0", "fold1"))).metrics["members"]
    each = [summarise(p, a.truth, CODES) for p in members]
    values = [e["accuracy"] for e in each]
    assert m["accuracy"]["each"] == values
    assert m["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert m["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
    recalls = [e["per_class"]["M2"]["recall"] for e in each]
    assert m["per_class"]["M2"]["recall"]["mean"] == pytest.approx(np.mean(recalls))
    assert "members" not in measure(replace(a, members=members[:1])).metrics


def test_worsened_crops_lose_detail_and_keep_their_size() -> None:
    image = draw_cell()
    assert AS_IT_IS(image) is image
    assert AS_IT_IS.notes() == ()
    worse = Worsening(0.5, 30)
    assert worse(image).shape == image.shape
    assert worse(image).dtype == np.uint8
    detail = [np.abs(np.diff(i.astype(float), axis=1)).max() for i in (image, worse(image))]
    assert detail[1] < detail[0]
    assert [note.split()[-1] for note in worse.notes()] == ["interpolation.", "again."]
