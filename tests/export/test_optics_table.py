"""The training data's background and stain, in a new bundle and put into one that is there."""

import json
import shutil
from pathlib import Path

import numpy as np

from heme_edge.bundle import Bundle, load_bundle
from heme_export.optics import add_optics
from heme_train.data import open_crops
from heme_train.runs import crops_of


def test_a_new_bundle_has_the_table(bundle: Bundle) -> None:
    table = bundle.info.optics
    assert len(table["white_rgb"]) == 3
    assert set(table["stain"])


def test_nothing_else_changes(bundle: Bundle, run: Path, drawn_crops: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    before = json.loads((copy / "bundle.json").read_text())
    add_optics(copy, crops_of(run, open_crops(drawn_crops)))
    after = json.loads((copy / "bundle.json").read_text())
    assert {k: v for k, v in after.items() if k != "optics"} == {
        k: v for k, v in before.items() if k != "optics"
    }
    assert after["optics"] == bundle.info.optics
    assert np.isfinite(load_bundle(copy).info.optics.get("white_rgb", [0])).all()
