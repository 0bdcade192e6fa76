"""The three layouts of a crop set, and what is wrong with each."""

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import HemeError
from heme_train.data import CropSet, open_crops
from heme_train.reading import class_code
from tests.conftest import draw_cell, save


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def pack(path: Path, names: list[str], mode: str = "w") -> None:
    """A shard whose every member holds its own name."""
    with tarfile.open(path, mode) as shard:  # type: ignore[call-overload]  # mode of a parameter
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            shard.addfile(entry, io.BytesIO(name.encode()))


def by_file(crops: CropSet) -> dict[str, tuple[str, str]]:
    return {c.file: (c.code, c.group) for c in crops.crops}


# -- class folders


def test_the_layout_deepheme_announced(tmp_path: Path) -> None:
    for code in DEEPHEME_CODES:
        save(tmp_path / code / "0001.png", draw_cell())
    crops = open_crops(tmp_path)
    assert {c.code for c in crops.crops} == set(DEEPHEME_CODES)
    assert (crops.groups_known, crops.roles_known, crops.skipped) == (False, False, ())
    assert crops.image(crops.crops[0]).shape == (96, 96, 3)
    assert not crops.select(["fold0"]), "nothing trains before roles are made"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("M1", "M1"), ("m1", "M1"), ("E0", "E1"), ("myeloid_blast", "M1"), ("PL", "PL"),
        ("Myeloid Blast", "M1"), ("plasma-cell", "L4"), ("M1_myeloid_blast", "M1"),
        ("background", "background"), ("M11", None), ("blast", None), ("", None),
    ],
)  # fmt: skip
def test_spellings_of_a_class(name: str, code: str | None) -> None:
    assert class_code(name) == code


def test_sub_folders_are_slides(tmp_path: Path) -> None:
    for file in ("M1/slide07/a.png", "E0/slide07/b.png", "M1/slide08/deep/c.PNG"):
        save(tmp_path / file, draw_cell())
    crops = open_crops(tmp_path)
    assert crops.groups_known
    assert by_file(crops) == {
        "M1/slide07/a.png": ("M1", "slide07"),
        "E0/slide07/b.png": ("E1", "slide07"),
        "M1/slide08/deep/c.PNG": ("M1", "slide08"),
    }


def test_one_picture_without_slide_makes_the_groups_unknown(tmp_path: Path) -> None:
    for file in ("M1/slide07/a.png", "M1/b.png"):
        save(tmp_path / file, draw_cell())
    crops = open_crops(tmp_path)
    assert not crops.groups_known
    assert by_file(crops)["M1/b.png"] == ("M1", "M1/b.png")


def test_groups_from_file_names(tmp_path: Path) -> None:
    for file in ("M1/slide07_1.png", "L2/slide07_2.png", "L2/slide08_1.png"):
        save(tmp_path / file, draw_cell())
    crops = open_crops(tmp_path, r"(slide\d+)_")
    assert crops.groups_known
    assert {group for _, group in by_file(crops).values()} == {"slide07", "slide08"}
    assert not open_crops(tmp_path).groups_known, "no group is guessed from a name"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(slide", "is no regular expression"),
        (r"slide\d+", "has 0 capturing groups, not one"),
        (r"(S)(\d+)", "has 2 capturing groups"),
        (r"(patient\d+)", r"does not fit 'M1/slide07_1\.png'"),
    ],
)
def test_bad_group_patterns(tmp_path: Path, pattern: str, says: str) -> None:
    save(tmp_path / "M1" / "slide07_1.png", draw_cell())
    with pytest.raises(HemeError, match=says):
        open_crops(tmp_path, pattern)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    save(tmp_path / "M1" / "a.png", draw_cell())
    for name in ("M1/Thumbs.db", "M1/.DS_Store", "readme.txt", ".hidden/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    crops = open_crops(tmp_path)
    assert [c.file for c in crops.crops] == ["M1/a.png"]
    assert dict(crops.skipped) == {
        "M1/Thumbs.db": "is no picture by its name",
        "M1/.DS_Store": "is hidden",
        "readme.txt": "lies in no class folder",
        ".hidden": "is hidden",
    }


def test_an_unknown_folder_is_named(tmp_path: Path) -> None:
    save(tmp_path / "M1" / "a.png", draw_cell())
    save(tmp_path / "unsorted" / "a.png", draw_cell())
    with pytest.raises(HemeError, match=r"folder 'unsorted' in .* not a known cell class") as error:
        open_crops(tmp_path)
    assert "ER1" in error.value.hint


def test_empty_class_folders(tmp_path: Path) -> None:
    (tmp_path / "M1").mkdir()
    with pytest.raises(HemeError, match="no class folders with pictures"):
        open_crops(tmp_path)


# -- manifests


def test_other_column_names(tmp_path: Path) -> None:
    save(tmp_path / "a.png", draw_cell())
    path = manifest(tmp_path, "\ufeffPath,Label,Slide\na.png,E0,s1\n")
    crops = open_crops(path)
    assert by_file(crops) == {"a.png": ("E1", "s1")}
    assert (crops.groups_known, crops.roles_known) == (True, False)
    assert crops.image(crops.crops[0]).shape == (96, 96, 3)


def test_an_alias_gives_way_to_the_column_itself(tmp_path: Path) -> None:
    path = manifest(tmp_path, "file,path,code,label\na.png,/old/a.png,M1,anything\n")
    assert by_file(open_crops(path)) == {"a.png": ("M1", "a.png")}


def test_roles_of_a_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, "file,code,group,role\na.png,M1,g,fold0\n")
    crops = open_crops(path)
    assert (crops.roles_known, crops.split_by) == (True, "manifest")
    assert crops.select(["fold0"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,code,role\na.png,M1,fold0\nb.png,M1,\n", "1 of 2 rows of .* have no role"),
        ("file,code,role\na.png,M1,train\n", "'train' in .* is no role"),
        ("file,code\na.png,M1\na.png,M2\n", r"'a\.png' stands twice in"),
        ("file,code\n,M1\n", "Row 2 of .* names no file"),
        ("file,code\na.png,blast\n", r"'blast' is not a known cell class \(row 2 of"),
        ("file\na.png\n", "needs the columns file and code"),
        ("", "needs the columns file and code"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(HemeError, match=says):
        open_crops(manifest(tmp_path, text))


def test_a_picture_as_manifest(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", draw_cell())
    with pytest.raises(HemeError, match="is not a CSV table in UTF-8"):
        open_crops(path)


def test_a_repeated_row_counts_once(tmp_path: Path) -> None:
    crops = open_crops(manifest(tmp_path, "file,code\na.png,M1\na.png,M1\n"))
    assert len(crops.crops) == 1
    assert crops.skipped == (("a.png", "stands in the manifest again"),)


# -- shards


def test_members_of_several_shards(tmp_path: Path) -> None:
    pack(tmp_path / "0.tar", ["./a.png"])
    pack(tmp_path / "1.tar", ["b.png", "unlisted.png"])
    (tmp_path / "c.png").write_bytes(b"beside")
    crops = open_crops(manifest(tmp_path, "file,code\na.png,M1\n./b.png,M1\nc.png,M1\n"))
    assert [crops.data(c) for c in crops.crops] == [b"./a.png", b"b.png", b"beside"]


def test_evil_members_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    names = ["/etc/a.png", "../b.png", "x/../../c.png", "good.png"]
    pack(folder / "0.tar", names)
    with tarfile.open(folder / "0.tar", "a") as shard:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            entry = tarfile.TarInfo(f"link{kind.decode()}.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            names.append(entry.name)
            shard.addfile(entry)
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "code"], *([name, "M1"] for name in names)])
    crops = open_crops(folder)
    assert set(crops.places) == {"good.png"}
    assert len(crops.skipped) == 6
    with pytest.raises(HemeError, match="is in the manifest but in no shard"):
        crops.data(crops.crops[0])
    assert sorted(p.name for p in folder.iterdir()) == ["0.tar", "manifest.csv"], "not unpacked"


def test_one_name_in_two_shards(tmp_path: Path) -> None:
    for shard in ("0.tar", "1.tar"):
        pack(tmp_path / shard, ["a.png"])
    with pytest.raises(HemeError, match=r"'a\.png' is in two shards, '0\.tar' and '1\.tar'"):
        open_crops(manifest(tmp_path, "file,code\na.png,M1\n"))


def test_of_two_members_of_one_shard_the_later_counts(tmp_path: Path) -> None:
    pack(tmp_path / "0.tar", ["a.png", "a.png"])
    crops = open_crops(manifest(tmp_path, "file,code\na.png,M1\n"))
    assert crops.places["a.png"].offset > 512


@pytest.mark.parametrize("kind", ["compressed", "rubbish"])
def test_shards_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    if kind == "compressed":
        pack(tmp_path / "0.tar", ["a.png"], "w:gz")
    else:
        (tmp_path / "0.tar").write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(HemeError, match="is damaged, compressed or no tar file"):
        open_crops(manifest(tmp_path, "file,code\na.png,M1\n"))
