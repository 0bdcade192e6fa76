import numpy as np
import pytest
from sklearn import metrics as sk

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import HemeError
from heme_train.confusions import are_neighbours, confused_pairs, neighbour_errors
from heme_train.metrics import (
    area_under_curve,
    confusion_matrix,
    normalised,
    restricted,
    summarise,
)

CODES = ["M1", "M2", "M3", "M4"]
BY_HAND = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.5, 0.1, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0]])
TRUTH = ["M1", "M1", "M2", "M3"]


def test_a_table_checked_by_hand() -> None:
    result = summarise(BY_HAND, TRUTH, CODES)
    assert result["accuracy"] == 0.5
    # M1 has 0.7 and 0.4 against 0.9 and 0: two of four pairs are in order; TP 1, TN 1 of 4.
    expected = {"n": 2, "auc": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "accuracy": 0.5}
    assert result["per_class"]["M1"] == expected
    # M2's 0.1 ties with one 0.1, loses to 0.5, beats 0: (0.5 + 0 + 1) / 3.
    assert result["per_class"]["M2"]["auc"] == pytest.approx(0.5)
    assert result["per_class"]["M2"]["f1"] == 0
    assert result["macro"]["f1"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert result["macro"]["auc"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert result["without_example"] == ["M4"]
    assert result["top2"] == 1.0
    assert (result["high_performance_classes"], result["high_performance"]) == (1, ["M3"])
    errors = {"errors": 2, "within_neighbours": 2, "share": 1.0}
    assert result["neighbour_errors"] == errors


def random_table(seed: int) -> tuple[np.ndarray, list[str]]:
    """23 classes of which three have no example; coarse values, so that many tie."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet(np.full(23, 0.3), 500), 2)
    p[rng.random(500) < 0.1] = 1.0  # whole rows of ties
    p = np.where(p.sum(1, keepdims=True) > 0, p, 1.0)
    p /= p.sum(1, keepdims=True)
    present = rng.permutation(23)[:20]
    follows = p.argmax(1)
    truth = np.where(rng.random(500) < 0.5, follows, rng.choice(present, 500))
    truth = np.where(np.isin(truth, present), truth, present[0])
    return p, [DEEPHEME_CODES[i] for i in truth]


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed: int) -> None:
    p, truth = random_table(seed)
    codes = list(DEEPHEME_CODES)
    named = [codes[i] for i in p.argmax(1)]
    result = summarise(p, truth, codes)
    present = [c for c in codes if c in set(truth)]
    assert list(result["per_class"]) == present
    assert result["without_example"] == [c for c in codes if c not in present]
    table = sk.precision_recall_fscore_support(truth, named, labels=present, zero_division=0)
    for i, code in enumerate(present):
        row = result["per_class"][code]
        is_it = np.array(truth) == code
        auc = sk.roc_auc_score(is_it, p[:, codes.index(code)])
        share = sk.accuracy_score(is_it, np.array(named) == code)
        expected = (*(column[i] for column in table), auc, share)
        got = tuple(row[k] for k in ("precision", "recall", "f1", "n", "auc", "accuracy"))
        assert got == pytest.approx(expected, abs=1e-9)
    means = dict(zip(("precision", "recall", "f1"), map(np.mean, table[:3]), strict=True))
    for key, value in means.items():
        assert result["macro"][key] == pytest.approx(value, abs=1e-9)
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(truth, named), abs=1e-9)
    assert result["nll"] == pytest.approx(
        -np.log(np.maximum(p[range(500), [codes.index(t) for t in truth]], 1e-12)).mean(), abs=1e-9
    )
    matrix = sk.confusion_matrix(truth, named, labels=codes)
    assert (confusion_matrix(truth, named, codes) == matrix).all()


def test_log_loss_and_top_two_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 300)
    truth = [CODES[i] for i in rng.integers(0, 4, 300)]
    result = summarise(p, truth, CODES)
    assert result["nll"] == pytest.approx(sk.log_loss(truth, p, labels=CODES), abs=1e-9)
    two = sk.top_k_accuracy_score(truth, p, k=2, labels=CODES)
    assert result["top2"] == pytest.approx(two, abs=1e-9)


def test_of_equal_columns_the_first_wins() -> None:
    result = summarise(np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]]), ["M1", "M2"], CODES)
    assert result["per_class"]["M1"]["recall"] == 1
    assert result["per_class"]["M2"]["recall"] == 0


def test_an_auc_that_does_not_exist_is_none_and_no_part_of_the_mean() -> None:
    alone = summarise(BY_HAND[:2], ["M1", "M1"], CODES)
    assert alone["per_class"]["M1"]["auc"] is None
    assert alone["macro"]["auc"] is None
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_a_class_the_model_never_saw_is_always_wrong() -> None:
    result = summarise(np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0]]), ["M1", "L4"], CODES)
    assert result["accuracy"] == 0.5
    assert result["never_trained"] == ["L4"]
    assert result["per_class"]["L4"]["recall"] == 0
    assert result["per_class"]["L4"]["auc"] is None
    assert result["macro"]["auc"] == 0.5
    assert "ece" not in result


def test_restricted_to_some_classes() -> None:
    p = restricted(np.array([[0.6, 0.3, 0.1, 0.0]]), CODES, ["M2", "M3"])
    assert p[0] == pytest.approx([0, 0.75, 0.25, 0])


def test_rows_are_divided_by_their_sum_only_where_they_need_it() -> None:
    assert normalised(np.array([[0.5, 0.5004]])).tolist() == [[0.5, 0.5004]]
    assert normalised(np.array([[1.0, 3.0]])).tolist() == [[0.25, 0.75]]


def test_nothing_to_evaluate_is_a_sentence() -> None:
    with pytest.raises(HemeError, match="no crops to evaluate on"):
        summarise(np.zeros((0, 4)), [], CODES)


def test_neighbours_hold_both_ways() -> None:
    assert are_neighbours("MO2", "M4")
    assert are_neighbours("E1", "M3")
    assert are_neighbours("M3", "E1")
    assert not are_neighbours("M1", "M3")
    assert not are_neighbours("M1", "nucleated")


def test_the_commonest_errors() -> None:
    matrix = np.array([[5, 2, 0, 1], [0, 7, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]])
    rows = confused_pairs(matrix, CODES)
    assert [(r["true"], r["named"], r["n"]) for r in rows] == [
        ("M3", "M1", 3),
        ("M1", "M2", 2),
        ("M1", "M4", 1),
    ]
    assert [r["neighbours"] for r in rows] == [False, True, False]
    assert rows[1]["share"] == 0.25
    assert neighbour_errors(matrix, CODES)["share"] == pytest.approx(2 / 6)
    assert neighbour_errors(np.eye(4, dtype=np.int64), CODES)["share"] is None
