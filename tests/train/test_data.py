import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from heme_edge.errors import HemeError
from heme_train.data import (
    FOLDS,
    TEST,
    Crop,
    CropSet,
    byte_hash,
    class_shares,
    draw_weights,
    open_crops,
)


def write(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_shards_are_read_without_unpacking(drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    assert len(crops.crops) == 3 * 7 * 6
    image = crops.image(crops.crops[0])
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert {p.name for p in drawn_crops.iterdir()} == {"crops-0.tar", "crops-manifest.csv"}


def test_roles_never_mix(drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    training = {c.group for c in crops.select(FOLDS)}
    assert not training & {c.group for c in crops.select(["test", "confidence"])}


def test_a_group_in_two_roles_is_refused(tmp_path: Path) -> None:
    rows = [
        {"file": "a.png", "code": "M1", "group": "g", "role": "fold0"},
        {"file": "b.png", "code": "M1", "group": "g", "role": "test"},
    ]
    with pytest.raises(HemeError, match="Group 'g' stands in two roles"):
        open_crops(write(tmp_path, rows))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"file": "a.png", "code": "X9"}, "'X9' is not a known cell class"),
        ({"picture": "a.png", "code": "M1"}, "needs the columns file and code"),
    ],
)
def test_bad_manifest(tmp_path: Path, row: dict[str, str], says: str) -> None:
    with pytest.raises(HemeError, match=says):
        open_crops(write(tmp_path, [row]))


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(HemeError, match="holds no manifest"):
        open_crops(tmp_path)


def test_a_picture_that_is_in_no_shard(tmp_path: Path) -> None:
    crops = open_crops(write(tmp_path, [{"file": "a.png", "code": "M1"}]))
    with pytest.raises(HemeError, match=r"'a\.png' is in the manifest but in no shard"):
        crops.data(crops.crops[0])


def test_draws_are_equal_over_classes(drawn_crops: Path) -> None:
    rows = open_crops(drawn_crops).select(FOLDS)
    unequal = [c for c in rows if c.code != "ER"][:40] + [c for c in rows if c.code == "ER"][:3]
    weights = draw_weights(unequal)
    share: Counter[str] = Counter()
    for crop, weight in zip(unequal, weights, strict=True):
        share[crop.code] += weight  # type: ignore[assignment]  # counts shares
    assert weights.sum() == pytest.approx(1)
    assert share["ER"] == pytest.approx(1 / 3)


def test_two_sets_with_one_name_are_refused(drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    with pytest.raises(HemeError, match="is in two crop sets"):
        crops.joined(crops)
    assert crops.joined(CropSet([], {})).crops == crops.crops


def test_a_set_with_roles_is_not_joined_to_one_without(drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    bare = CropSet([Crop("x.png", "M1", "x.png", "unknown", TEST)], {}, False, False)
    with pytest.raises(HemeError, match="One crop set has roles and the other has none"):
        crops.joined(bare)


def test_a_joined_set_keeps_what_is_known(drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    other = CropSet([Crop("x.png", "M1", "g", "cam", TEST)], {}, skipped=(("y", "is hidden"),))
    crops.byte_hashes, other.byte_hashes = {"a": "0"}, {"x.png": "1"}
    both = crops.joined(other)
    assert (both.groups_known, both.roles_known, both.split_by) == (True, True, "manifest")
    assert both.byte_hashes == {"a": "0", "x.png": "1"}
    assert both.skipped == (("y", "is hidden"),)


def test_the_hash_of_a_picture() -> None:
    assert byte_hash(b"") == "e3b0c44298fc1c14"


def test_shared_set_is_what_its_description_says(heme_data: Path) -> None:
    crops = open_crops(heme_data / "crops")
    assert len(crops.crops) == 19_801
    shares = class_shares(crops.crops)
    assert len(shares) == 13
    assert "B1" not in shares
    assert all(crops.places[c.file].size > 0 for c in crops.crops)
