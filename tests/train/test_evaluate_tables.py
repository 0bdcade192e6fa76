"""Anybody's table of probabilities: read, doubted, and measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from heme_edge.errors import HemeError
from heme_train.measure import measure
from heme_train.tables import is_softmax_of_sigmoids, oddities, read_answers, read_truth

PREDICTIONS = (
    "image\tM1\tE0\tPL4\n"
    "a.png\t0.8\t0.1\t0.1\n"
    "b.png\t0.1\t0.6\t0.3\n"
    "c.png\t0.0\t0.1\t0.9\n"
    "d.png\t0.5\t0.4\t0.1\n"
)
TRUTH = "label,path,slide\nM1,a.png,s1\nE1,b.png,s1\nPL4,c.png,s2\nE0,d.png,s2\n"


def write(folder: Path, predictions: str = PREDICTIONS, truth: str = TRUTH) -> tuple[Path, Path]:
    paths = folder / "p.tsv", folder / "t.csv"
    for path, text in zip(paths, (predictions, truth), strict=True):
        path.write_text(text)
    return paths


def test_a_small_table_by_hand(tmp_path: Path) -> None:
    a = read_answers(*write(tmp_path))
    assert a.codes == ("M1", "E1", "PL4")
    assert a.truth == ("M1", "E1", "PL4", "E1")
    assert a.groups == ("s1", "s1", "s2", "s2")
    assert a.notes == ("E0 was read as E1.",)
    m = measure(a).metrics
    assert m["accuracy"] == 0.75
    assert m["per_class"]["M1"] == {
        "n": 1, "auc": 1.0, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3),
        "accuracy": 0.75,
    }  # fmt: skip
    assert m["per_class"]["E1"]["recall"] == 0.5
    assert m["macro"]["recall"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert m["nll"] == pytest.approx(-np.log([0.8, 0.6, 0.9, 0.4]).mean())
    # One answer per bin: |0.8-1|, |0.6-1|, |0.9-1|, |0.5-0|, each a quarter.
    assert m["ece"] == pytest.approx((0.2 + 0.4 + 0.1 + 0.5) / 4)
    assert m["high_performance_classes"] == 1
    assert m["top2"] == 1.0


def test_commas_a_byte_order_mark_and_no_groups(tmp_path: Path) -> None:
    paths = write(
        tmp_path, "\ufeff" + PREDICTIONS.replace("\t", ","), "file,code\nA,M1\na.png,m1\n"
    )
    a = read_answers(*paths)
    assert a.truth == ("M1",)
    assert not a.grouped
    assert a.notes[:2] == (
        "3 of 4 images have no truth and are left out.",
        "1 of 2 true images have no probabilities and are left out.",
    )


def test_a_class_that_is_no_column_is_always_wrong(tmp_path: Path) -> None:
    m = measure(read_answers(*write(tmp_path, truth=TRUTH.replace("M1,a", "U4,a")))).metrics
    assert m["never_trained"] == ["U4"]
    assert m["accuracy"] == 0.5
    assert json.dumps(m, allow_nan=False)


def test_rows_that_do_not_sum_to_one_are_said(tmp_path: Path) -> None:
    a = read_answers(*write(tmp_path, PREDICTIONS.replace("0.8\t0.1\t0.1", "1.6\t0.2\t0.2")))
    assert "1 of 4 rows do not sum to 1 (sums from 1.000 to 2.000)" in a.notes[1]
    plain = measure(read_answers(*write(tmp_path))).metrics
    m = measure(a).metrics
    for key in ("accuracy", "ece", "nll", "top2"):
        assert m[key] == pytest.approx(plain[key])


def test_a_softmax_of_sigmoids_is_recognised() -> None:
    rng = np.random.default_rng(0)
    sigmoids = 1 / (1 + np.exp(-rng.normal(-3, 3, (50, 23))))
    p = np.exp(sigmoids) / np.exp(sigmoids).sum(1, keepdims=True)
    assert is_softmax_of_sigmoids(p)
    assert is_softmax_of_sigmoids(np.round(p, 4))
    said = list(oddities(p))
    assert len(said) == 1
    assert "softmax of sigmoids" in said[0]
    assert "0.110" in said[0]
    assert not is_softmax_of_sigmoids(rng.dirichlet(np.full(23, 0.3), 50))
    assert not is_softmax_of_sigmoids(sigmoids)
    assert list(oddities(rng.dirichlet(np.full(23, 0.3), 50))) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("PL4", "XX", "line 1: 'XX' is not a known cell class"),
        ("PL4", "E1", "two columns of the class E1"),
        ("b.png", "a.png", "line 3: the image 'a.png' stands on line 2 already"),
        ("b.png", "", "line 3: there is no image name"),
        ("0.6", "nan", "line 3: 'nan' is not a probability"),
        ("0.6", "-0.6", "line 3: '-0.6' is not a probability"),
        ("0.6", "high", "line 3: 'high' is not a probability"),
        ("\t0.6", "", "line 3: 3 columns, but the header has 4"),
        ("0.1\t0.6\t0.3", "0\t0\t0", "line 3: all probabilities are 0"),
    ],
)
def test_a_wrong_table_is_a_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(HemeError, match=says):
        read_answers(*write(tmp_path, PREDICTIONS.replace(old, new)))


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        ("path,slide\na.png,s\n", "needs a column for the image"),
        ("file,code\n", "holds no row under its header"),
        ("file,code\na.png,M1\na.png,M2\n", "line 3: the image 'a.png' stands on line 2"),
        ("file,code\na.png,blast\n", "line 2: 'blast' is not a known cell class"),
        ("file,code\nz.png,M1\n", "No image stands in both"),
    ],
)
def test_a_wrong_truth_is_a_sentence(tmp_path: Path, truth: str, says: str) -> None:
    with pytest.raises(HemeError, match=says):
        read_answers(*write(tmp_path, truth=truth))


def test_what_is_no_table_is_a_sentence(tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(HemeError, match="cannot be read as a table"):
        read_truth(picture)
    with pytest.raises(HemeError, match="at least two classes"):
        read_answers(*write(tmp_path, "image\tM1\na.png\t1\n"))
