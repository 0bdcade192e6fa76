"""Fields with a labelled cell, an unlabelled look-alike and empty places."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.errors import HemeError
from heme_train.data import BACKGROUND, FOLDS, NUCLEATED, class_shares, open_crops
from heme_train.false_alarms import cut_false_alarms
from heme_train.labelled_fields import Fields
from tests.conftest import save


@pytest.fixture
def fields(tmp_path: Path) -> Fields:
    """At 0.25 µm/px: a labelled cell at (100, 120), debris like a nucleus at (420, 300)."""
    image = np.full((400, 520, 3), (238, 232, 236), np.uint8)
    for x, y in ((100, 120), (420, 300)):
        cv2.circle(image, (x, y), 26, (205, 190, 225), -1, cv2.LINE_AA)
        cv2.circle(image, (x, y), 18, (90, 40, 140), -1, cv2.LINE_AA)
    for name in ("cam/a.png", "cam/b.png", "cam/test.png"):
        save(tmp_path / name, image)
    (tmp_path / "annotations.csv").write_text(
        "file,label,x0,y0,x1,y1\n"
        + "".join(f"cam/{n}.png,wbc,70,90,130,150\n" for n in ("a", "b", "test"))
    )
    (tmp_path / "split.csv").write_text(
        "file,role\ncam/a.png,fit\ncam/b.png,fit\ncam/test.png,test\n"
    )
    files = (tmp_path / "annotations.csv", tmp_path / "split.csv")
    return Fields(tmp_path, *files, "fit", "wbc", "cam/*", 0.25)


def test_what_is_cut(fields: Fields, tmp_path: Path) -> None:
    counts = cut_false_alarms(fields, tmp_path / "out")
    assert counts["U1"] == 2
    assert counts[NUCLEATED] == 2
    assert counts[BACKGROUND] > 0
    crops = open_crops(tmp_path / "out")
    assert set(class_shares(crops.crops)) == {"U1", NUCLEATED, BACKGROUND}
    assert all(c.source == "cam" and c.role in FOLDS for c in crops.crops)
    assert not any("test" in c.file for c in crops.crops), "only fields of the role are cut"
    for crop in crops.crops:
        image = crops.image(crop)
        assert image.shape == (96, 96, 3)
        dark_middle = image[38:58, 38:58].mean() < 130
        assert dark_middle == (crop.code != BACKGROUND)


def test_a_field_stays_in_one_fold(fields: Fields, tmp_path: Path) -> None:
    cut_false_alarms(fields, tmp_path / "out")
    with (tmp_path / "out" / "false-alarms-manifest.csv").open() as file:
        roles: dict[str, set[str]] = {}
        for row in csv.DictReader(file):
            roles.setdefault(row["group"], set()).add(row["role"])
    assert all(len(r) == 1 for r in roles.values())


def test_no_field_of_that_role(fields: Fields, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(HemeError, match="No field has the role 'nowhere'"):
        cut_false_alarms(replace(fields, role="nowhere"), tmp_path / "out")
