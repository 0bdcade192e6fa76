"""From what a user gives to the crops of a run: no leak, and bad input is a sentence."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_train.data import FOLDS, ROLES, CropSet, byte_hash, open_crops
from heme_train.prepare import prepare
from heme_train.survey import survey
from tests.conftest import save
from tests.train.test_duplicates import CHANGES, textured_cell


def slide_folders(root: Path, slides: int = 8, side: int = 96) -> Path:
    """Two classes on every slide, two pictures each."""
    for s in range(slides):
        for at, code in enumerate(("M1", "L2")):
            for k in range(2):
                image = textured_cell(1000 * at + 10 * s + k, side)
                save(root / code / f"slide{s}" / f"{k}.png", image)
    return root


def plant(root: Path, name: str, image: Image) -> None:
    save(root / name, np.ascontiguousarray(image))


def pixels_by_role(crops: CropSet) -> dict[str, set[bytes]]:
    found = defaultdict(set)
    seen = survey(crops)
    for crop, pixels in zip(seen.crops, seen.pixel_hashes, strict=True):
        found[crop.role].add(pixels)
    return found


def test_no_copy_crosses_roles(tmp_path: Path) -> None:
    """Copies planted across slides, and one class raised twenty-fold under other names."""
    data = slide_folders(tmp_path / "data", 12)
    for k, (source, target) in enumerate([(0, 5), (1, 6), (2, 7)]):
        cell = textured_cell(10 * source, 96)
        plant(data, f"M1/slide{target}/copy{k}.png", list(CHANGES.values())[k](cell))
    for k in range(20):
        plant(data, f"L2/slide{k % 2 + 3}/raised{k}.png", textured_cell(1000 + 30, 96))
    said: list[str] = []
    crops = prepare(data, tmp_path / "run", say=said.append)
    assert any("20 exact and 3 near copies in 4 sets; 4 cross groups" in s for s in said)
    groups = {c.group: c.role for c in crops.crops}
    assert all(groups[c.group] == c.role for c in crops.crops)
    for a, b in [(0, 5), (1, 6), (2, 7), (3, 4)]:
        assert groups[f"slide{a}"] == groups[f"slide{b}"]
    pixels = pixels_by_role(crops)
    for role in ROLES:
        others = set().union(*(p for r, p in pixels.items() if r != role))
        assert not pixels[role] & others


def test_a_hash_for_every_picture(tmp_path: Path) -> None:
    crops = prepare(slide_folders(tmp_path / "data"), tmp_path / "run")
    assert crops.byte_hashes == {c.file: byte_hash(crops.data(c)) for c in crops.crops}
    held_out = {crops.byte_hashes[c.file] for c in crops.select(["test", "confidence"])}
    trained = {crops.byte_hashes[c.file] for c in crops.select(FOLDS)}
    assert held_out
    assert not held_out & trained


def test_a_run_keeps_its_split(tmp_path: Path) -> None:
    data, run = slide_folders(tmp_path / "data"), tmp_path / "run"
    first = prepare(data, run, seed=1)
    for path in data.rglob("*.png"):
        path.write_bytes(b"not looked at again")
    again = prepare(data, run, seed=2)
    assert again.digest() == first.digest()
    assert again.byte_hashes == first.byte_hashes
    assert {p.name for p in run.iterdir()} == {"split.csv", "duplicates.csv"}


@pytest.fixture
def with_roles(tmp_path: Path) -> CropSet:
    """Two classes, two pictures in each role, in a manifest with roles."""
    folder = tmp_path / "with-roles"
    rows = ["file,code,group,role"]
    for at, code in enumerate(("M1", "L2")):
        for r, role in enumerate(ROLES):
            for k in range(2):
                name = f"{code}-{role}-{k}.png"
                save(folder / name, textured_cell(5000 + 100 * at + 10 * r + k, 96))
                rows.append(f"{name},{code},{role},{role}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return open_crops(folder)


def test_copies_in_a_manifest_with_roles_are_moved(with_roles: CropSet, tmp_path: Path) -> None:
    source = with_roles.select(["test"])[0]
    copy = replace(source, file="copy.png", role="fold2", group="another")
    places = with_roles.places | {"copy.png": with_roles.places[source.file]}
    planted = replace(with_roles, crops=[*with_roles.crops, copy], places=places)
    said: list[str] = []
    made = prepare(planted, tmp_path / "run", by_image=True, say=said.append)
    assert made.crops[:-1] == with_roles.crops, "the roles of a manifest are kept"
    assert made.crops[-1].role == "test"
    assert "1 copies were moved to the strictest role of their set." in said
    assert "The roles are those of the manifest; --by-image is not used." in said
    with (tmp_path / "run" / "duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {source.file, "copy.png"}
    assert {(row["kind"], row["role"]) for row in rows} == {("exact", "test")}


def test_more_crops_beside_those_of_the_split(with_roles: CropSet, tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    crops = prepare(data, tmp_path / "run", extra=with_roles)
    roles = {c.file: c.role for c in crops.crops}
    assert all(roles[c.file] == c.role for c in with_roles.crops)
    assert {roles[c.file] for c in open_crops(data).crops} == set(ROLES)
    assert prepare(data, tmp_path / "run", extra=with_roles).digest() == crops.digest()
    with pytest.raises(HemeError, match="The extra crops have no roles"):
        prepare(with_roles, tmp_path / "other", extra=open_crops(data))


def test_an_image_level_split_is_asked_for_each_time(tmp_path: Path) -> None:
    for code in ("M1", "L2"):
        for k in range(12):
            save(tmp_path / "data" / code / f"{k}.png", textured_cell(k + 50 * (code == "L2"), 96))
    with pytest.raises(HemeError, match="Nobody knows which slide"):
        prepare(tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    said: list[str] = []
    made = prepare(tmp_path / "data", tmp_path / "run", by_image=True, say=said.append)
    assert made.split_by == "image"
    assert any(s.startswith("Roles were made by image: ") for s in said)
    with pytest.raises(HemeError, match="was made by image"):
        prepare(tmp_path / "data", tmp_path / "run")


def test_a_split_by_group_is_not_taken_for_one_by_image(tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    prepare(data, tmp_path / "run")
    with pytest.raises(HemeError, match="was made by group"):
        prepare(data, tmp_path / "run", by_image=True)


def test_unreadable_pictures(tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    whole = (data / "M1" / "slide0" / "0.png").read_bytes()
    bad = {"0.png": b"", "1.png": whole[: len(whole) // 2], "2.png": b"no picture", "3.png": b"x"}
    for name, content in bad.items():
        (data / "M1" / "slide0" / name).write_bytes(content)
    with pytest.raises(HemeError, match=r"of 34 pictures cannot be read: 'M1/slide0/0\.png' is em"):
        prepare(data, tmp_path / "run")
    said: list[str] = []
    crops = prepare(data, tmp_path / "run", skip_unreadable=True, say=said.append)
    left = 34 - len(crops.crops)
    assert left >= 3, "a PNG cut short may still be decoded"
    assert len(crops.skipped) == left
    assert f"{left} unreadable pictures are left out." in said
    assert prepare(data, tmp_path / "run").digest() == crops.digest()


def test_nothing_readable(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("file,code,group\na.png,M1,g\nb.png,L2,g\n")
    with pytest.raises(HemeError, match=r"2 of 2 .*'a\.png' is in no shard and no file"):
        prepare(path, tmp_path / "run", skip_unreadable=True)


def test_mixed_sizes(tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    plant(data, "M1/slide0/small.png", textured_cell(500, 80))
    says = (
        r"source 'unknown' have several sizes \('M1/slide0/small\.png' is 80x80 px, '.*' is 96x96"
    )
    with pytest.raises(HemeError, match=says) as error:
        prepare(data, tmp_path / "run")
    assert "--mixed-sizes" in error.value.hint
    said: list[str] = []
    prepare(data, tmp_path / "run", mixed_sizes=True, say=said.append)
    assert any("smaller than 96 px: mirrored outwards" in s for s in said)


def test_sizes_from_96_px_may_differ(tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    plant(data, "M1/slide0/large.png", textured_cell(500, 128))
    said: list[str] = []
    prepare(data, tmp_path / "run", say=said.append)
    assert "Source 'unknown' has 2 sizes: the middle 96 px are used." in said


def test_one_image_to_train_on(with_roles: CropSet, tmp_path: Path) -> None:
    single = with_roles.select(["fold0"], codes=["L2"])[0]
    rows = [c for c in with_roles.crops if c.code != "L2" or c == single]
    with pytest.raises(HemeError, match="One image only is left to train on of: L2"):
        prepare(replace(with_roles, crops=rows), tmp_path / "run")


def test_what_is_said_of_skipped_files(tmp_path: Path) -> None:
    data = slide_folders(tmp_path / "data")
    (data / "notes.txt").write_text("x")
    said: list[str] = []
    prepare(data, tmp_path / "run", say=said.append)
    assert said[0] == "Left out while reading: 1 ('notes.txt' lies in no class folder)."
