"""Copies are found whatever was done to them; look-alikes are not taken for copies."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.crops import Image
from heme_train.augment import centre
from heme_train.data import FOLDS, Crop, CropSet, Place
from heme_train.duplicates import duplicate_report, find_duplicates, keep_copies_together
from heme_train.survey import survey
from tests.conftest import draw_cell, save

CHANGES: dict[str, Callable[[Image], Image]] = {
    "jpeg": lambda image: _jpeg(image, 80),
    "quarter turn": lambda image: np.rot90(image),
    "mirrored": lambda image: image[:, ::-1],
    "shifted": lambda image: _moved(image, 2),
    "brighter": lambda image: np.clip(image * 1.05, 0, 255).astype(np.uint8),
    "darker": lambda image: (image * 0.95).astype(np.uint8),
    "resampled": lambda image: _resampled(image),
    "all of it": lambda image: _jpeg(np.rot90(_moved(image, -2)[::-1] * 0.95).astype(np.uint8), 80),
}


def _jpeg(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _moved(image: Image, px: int) -> Image:
    move = np.array([[1.0, 0.0, px], [0.0, 1.0, px]])
    size = image.shape[1::-1]
    moved = cv2.warpAffine(image, move, size, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _resampled(image: Image) -> Image:
    small = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1]), np.uint8)


def textured_cell(seed: int, side: int = 128) -> Image:
    """The same round cell, with chromatin and a background of its own."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 2.0)
    image = draw_cell(side, nucleus=22, cell=32) + 18 * noise / noise.std()
    return np.clip(image, 0, 255).astype(np.uint8)


def crop_set(folder: Path, images: dict[str, Image], **roles: str) -> CropSet:
    """Pictures on a disk as M1, the folder as group, in fold0 or the role given by stem."""
    crops, places = [], {}
    for name, image in images.items():
        path = save(folder / name, np.ascontiguousarray(image))
        role = roles.get(Path(name).stem, "fold0")
        crops.append(Crop(name, "M1", name.split("/")[0], "site", role))
        places[name] = Place(path, 0, path.stat().st_size)
    return CropSet(crops, places)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(tmp_path: Path, change: str) -> None:
    images = {f"g{k}/a.png": textured_cell(k) for k in range(8)}
    images["h/copy.png"] = CHANGES[change](images["g3/a.png"])
    assert find_duplicates(crop_set(tmp_path, images)) == [("g3/a.png", "h/copy.png")]


def test_look_alikes_are_no_copies(tmp_path: Path) -> None:
    images = {f"g{k}/a.png": textured_cell(k) for k in range(24)}
    assert find_duplicates(crop_set(tmp_path, images)) == []


def test_blank_pictures_that_differ_are_no_copies(tmp_path: Path) -> None:
    images = {f"g/{v}.png": np.full((96, 96, 3), v, np.uint8) for v in (200, 210, 220)}
    assert find_duplicates(crop_set(tmp_path, images)) == []


def test_the_same_pixels_saved_again(tmp_path: Path) -> None:
    image = textured_cell(0)
    images = {
        "g/a.png": image,
        "h/b.bmp": image,
        "h/c.tif": centre(image),
        "i/d.png": image[:, ::-1],
    }
    report = duplicate_report(survey(crop_set(tmp_path, images)))
    assert report.sets == (("g/a.png", "h/b.bmp", "h/c.tif", "i/d.png"),)
    assert (report.exact, report.near) == (2, 1)


def test_what_the_report_counts(tmp_path: Path) -> None:
    a, b, c = textured_cell(0), textured_cell(1), textured_cell(2)
    images = {"g/a.png": a, "g/a2.png": a, "g/b.png": b, "h/b2.png": b, "g/c.png": c, "h/c2.png": c}
    crops = crop_set(tmp_path, images, b2="test")
    crops.crops[-1] = replace(crops.crops[-1], code="M2")
    report = duplicate_report(survey(crops))
    counted = (report.crossing_groups, report.crossing_roles, report.different_labels)
    assert (report.exact, report.near, *counted) == (3, 0, 2, 1, 1)
    assert report.sentence() == (
        "3 exact and 0 near copies in 3 sets; 2 cross groups, 1 cross roles, "
        "1 have different labels."
    )


def test_no_crops() -> None:
    report = duplicate_report(survey(CropSet([], {})))
    assert report.sentence() == "No picture stands in the crop set twice."


def test_copies_go_to_the_strictest_role(tmp_path: Path) -> None:
    roles = {"g/a": "fold3", "g/b": "confidence", "g/c": "test", "g/d": "fold1", "g/e": "fold4"}
    crops = CropSet([Crop(f, "M1", "g", "site", role) for f, role in roles.items()], {})
    kept, moved = keep_copies_together(crops, [("g/a", "g/b", "g/c"), ("g/d", "g/e")])
    assert [c.role for c in kept.crops] == ["test", "test", "test", "fold1", "fold1"]
    assert moved == 3
    assert keep_copies_together(kept, [("g/a", "g/b")])[1] == 0


def test_planted_copies_of_real_cells(heme_data: Path, tmp_path: Path) -> None:
    from heme_train.data import open_crops

    crops = open_crops(heme_data / "crops")
    rows = crops.select(FOLDS)
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:160]]
    planted = list(CHANGES.items())
    images = {
        f"{change}/{i}.png": alter(crops.image(row))
        for i, row in enumerate(rows[:32])
        for change, alter in [planted[i % len(planted)]]
    }
    copies = crop_set(tmp_path, images)
    whole = replace(crops, crops=rows).joined(copies)
    expected = {tuple(sorted((rows[int(Path(f).stem)].file, f))) for f in images}
    assert set(find_duplicates(whole)) == expected
