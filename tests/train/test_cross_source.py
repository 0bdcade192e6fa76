"""Trainings that are tested on what they never saw."""

from dataclasses import replace
from pathlib import Path

import pytest

from heme_edge.errors import HemeError
from heme_train.cross_source import run_trial, trials
from heme_train.data import FOLDS, CropSet, open_crops
from heme_train.recipe import Recipe


@pytest.fixture
def two_sites(drawn_crops: Path) -> CropSet:
    """Every second group is of another site; M1 is of one site only."""
    crops = open_crops(drawn_crops)
    sited = [
        replace(c, source="there" if c.role in FOLDS[1::2] and c.code != "M1" else "here")
        for c in crops.crops
    ]
    return replace(crops, crops=sited)


def test_every_source_and_every_label_is_left_out(two_sites: CropSet, tiny: Recipe) -> None:
    found = {t.name: t for t in trials(two_sites, tiny)}
    assert list(found) == ["without-here", "without-there", "one-label-source"]
    assert found["without-here"].recipe.sources == ("there",)
    assert found["without-here"].unseen == {("ER", "here"), ("L2", "here")}
    assert found["one-label-source"].unseen == {("ER", "here"), ("L2", "there")}
    assert set(found["one-label-source"].recipe.hide) == {"ER:here", "L2:there"}


def test_it_is_tested_on_what_it_never_saw(
    two_sites: CropSet, tiny: Recipe, tmp_path: Path
) -> None:
    trial = trials(two_sites, replace(tiny, epochs=1))[-1]
    shown: list[int] = []
    result = run_trial(trial, two_sites, tmp_path, list(FOLDS), 5, lambda p: shown.append(p.epoch))
    assert result["n"] == 10
    assert result["restricted"]["macro"].keys() >= {"f1", "recall"}
    run_trial(trial, two_sites, tmp_path, list(FOLDS), 5, lambda p: shown.append(p.epoch))
    assert shown == [1], "a training that is there is not run again"


def test_one_source_cannot_be_left_out(drawn_crops: Path, tiny: Recipe) -> None:
    with pytest.raises(HemeError, match="No two sources share"):
        trials(open_crops(drawn_crops), tiny)
