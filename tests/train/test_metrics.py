import numpy as np
import pytest
from sklearn import metrics as sk

from heme_edge.errors import HemeError
from heme_train.metrics import restricted, summarise

CODES = ["M1", "M2", "M3", "M4"]


def test_a_table_checked_by_hand() -> None:
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.5, 0.1, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0]])
    result = summarise(p, ["M1", "M1", "M2", "M3"], CODES)
    assert result["accuracy"] == 0.5
    assert result["per_class"]["M1"] == {"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert result["per_class"]["M2"]["f1"] == 0
    assert result["macro"]["f1"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert result["without_example"] == ["M4"]


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 300)
    truth = [CODES[i] for i in rng.integers(0, 4, 300)]
    named = [CODES[i] for i in p.argmax(1)]
    result = summarise(p, truth, CODES)
    expected = sk.precision_recall_fscore_support(truth, named, labels=CODES)
    for i, code in enumerate(CODES):
        row = result["per_class"][code]
        assert (row["precision"], row["recall"], row["f1"], row["n"]) == pytest.approx(
            tuple(column[i] for column in expected), abs=1e-9
        )
    assert result["macro"]["f1"] == pytest.approx(sk.f1_score(truth, named, average="macro"))
    assert result["nll"] == pytest.approx(sk.log_loss(truth, p, labels=CODES), abs=1e-9)


def test_a_class_the_model_never_saw_is_always_wrong() -> None:
    result = summarise(np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0]]), ["M1", "L4"], CODES)
    assert result["accuracy"] == 0.5
    assert result["never_trained"] == ["L4"]
    assert result["per_class"]["L4"]["recall"] == 0
    assert "ece" not in result


def test_restricted_to_some_classes() -> None:
    p = restricted(np.array([[0.6, 0.3, 0.1, 0.0]]), CODES, ["M2", "M3"])
    assert p[0] == pytest.approx([0, 0.75, 0.25, 0])


def test_nothing_to_evaluate_is_a_sentence() -> None:
    with pytest.raises(HemeError, match="no crops to evaluate on"):
        summarise(np.zeros((0, 4)), [], CODES)
