"""The shipped bundle on the real images: what its card says must be what it does."""

from pathlib import Path

import pytest

from heme_edge.bundle import load_bundle
from heme_train.data import TEST, open_crops
from heme_train.evaluate import evaluate_bundle


@pytest.fixture(scope="module")
def measured(heme_data: Path) -> dict[str, dict[str, float]]:
    crops = open_crops(heme_data / "crops")
    tables = {}
    for precision in ("fp32", "int8"):
        m = evaluate_bundle(load_bundle(), precision, crops, crops.select([TEST]))
        tables[precision] = {"accuracy": m["accuracy"], "f1": m["macro"]["f1"], "ece": m["ece"]}
    return tables


def test_int8_is_within_half_a_point_of_fp32(measured: dict[str, dict[str, float]]) -> None:
    for key in ("accuracy", "f1"):
        assert abs(measured["int8"][key] - measured["fp32"][key]) <= 0.005


def test_the_card_tells_the_truth(measured: dict[str, dict[str, float]]) -> None:
    said = load_bundle().info.accuracy
    for precision, m in measured.items():
        table = said[precision]["test"]
        assert m["accuracy"] == pytest.approx(table["accuracy"], abs=0.003)
        assert m["f1"] == pytest.approx(table["macro"]["f1"], abs=0.004)


def test_no_training_group_is_a_test_group(heme_data: Path) -> None:
    crops = open_crops(heme_data / "crops")
    folds = {c.group for c in crops.crops if c.role.startswith("fold")}
    assert not folds & {c.group for c in crops.select([TEST])}
    trained = {c.code: sum(c.train_images.values()) for c in load_bundle().info.classes}
    for code, n in trained.items():
        in_folds = sum(c.code == code for c in crops.crops if c.role.startswith("fold"))
        copies = in_folds - n  # one eosinophil is a copy of a crop of role confidence
        assert copies in (0, 1) or code == "U1", "U1 also holds detector false alarms"
