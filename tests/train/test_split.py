"""Roles made by seed: whole groups, every class spread; and the file they are kept in."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import HemeError
from heme_train.data import FOLDS, ROLES, TEST, Crop, CropSet
from heme_train.split import assign_roles, missing_roles, read_split, write_split


def crop_set(rows: list[tuple[str, str, str]], groups_known: bool = True) -> CropSet:
    """Rows of ``(file, code, group)`` without pictures and without roles."""
    crops = [Crop(file, code, group, "site", TEST) for file, code, group in rows]
    return CropSet(crops, {}, groups_known, roles_known=False)


def slides(count: int = 10, seed: int = 0) -> CropSet:
    """Slides that hold all 23 classes, in very different numbers."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(count):
        for k, code in enumerate(DEEPHEME_CODES):
            for i in range(1 + rng.poisson(1 + 2 * k)):
                rows.append((f"{code}/slide{s:02}/{i}.png", code, f"slide{s:02}"))
    return crop_set(rows)


def runs(code: str, groups: int, each: int = 5) -> list[tuple[str, str, str]]:
    return [
        (f"{code}-{g}-{i}.png", code, f"{code}-{g}") for g in range(groups) for i in range(each)
    ]


def role_of(crops: CropSet) -> dict[str, str]:
    return {c.file: c.role for c in crops.crops}


def roles_of_groups(crops: CropSet) -> dict[str, set[str]]:
    found = defaultdict(set)
    for c in crops.crops:
        found[c.group].add(c.role)
    return found


def test_ten_slides_of_all_classes() -> None:
    split = assign_roles(slides())
    groups = roles_of_groups(split)
    assert all(len(roles) == 1 for roles in groups.values()), "slides stay whole"
    assert {role for roles in groups.values() for role in roles} == set(ROLES)
    assert missing_roles(split) == {}
    assert (split.roles_known, split.split_by) == (True, "group")
    share = Counter(c.role for c in split.crops)[TEST] / len(split.crops)
    assert 0.08 < share < 0.26


def test_shares_of_every_class() -> None:
    crops = crop_set([row for code in ("M1", "L2", "ER") for row in runs(code, 48)])
    split = assign_roles(crops)
    for code in ("M1", "L2", "ER"):
        groups = Counter({c.group: c.role for c in split.crops if c.code == code}.values())
        assert groups[TEST] == 8
        assert groups["confidence"] == 4
        assert all(7 <= groups[fold] <= 8 for fold in FOLDS)


def test_each_source_of_a_class_is_spread() -> None:
    crops = crop_set(runs("M1", 28))
    rows = [replace(c, source="a" if i < 70 else "b") for i, c in enumerate(crops.crops)]
    split = assign_roles(replace(crops, crops=rows))
    for source in ("a", "b"):
        assert {c.role for c in split.crops if c.source == source} == set(ROLES)


def test_the_order_of_the_rows_changes_nothing() -> None:
    crops = slides(14)
    mixed = [crops.crops[i] for i in np.random.default_rng(5).permutation(len(crops.crops))]
    assert role_of(assign_roles(crops, 3)) == role_of(assign_roles(replace(crops, crops=mixed), 3))


def test_another_seed_is_another_split() -> None:
    crops = crop_set(runs("M1", 30) + runs("L2", 30))
    assert role_of(assign_roles(crops, 0)) == role_of(assign_roles(crops, 0))
    assert role_of(assign_roles(crops, 0)) != role_of(assign_roles(crops, 1))


def test_copies_join_their_groups() -> None:
    crops = crop_set(runs("M1", 12) + runs("L2", 12))
    copies = [("M1-0-0.png", "M1-7-3.png", "not-in-this-set.png"), ("M1-7-1.png", "L2-2-2.png")]
    for seed in range(5):
        groups = roles_of_groups(assign_roles(crops, seed, copies=copies))
        assert all(len(roles) == 1 for roles in groups.values())
        assert groups["M1-0"] == groups["M1-7"] == groups["L2-2"]


def test_unknown_groups_need_a_flag() -> None:
    crops = crop_set([(f"{c}{i}", c, f"{c}{i}") for c in ("M1", "L2") for i in range(40)], False)
    with pytest.raises(HemeError, match="Nobody knows which slide each image is from") as error:
        assign_roles(crops)
    assert "--by-image, which overstates every figure" in error.value.hint
    split = assign_roles(crops, by_image=True, copies=[("M10", "M11", "M12")])
    assert split.split_by == "image"
    assert len({role_of(split)[f] for f in ("M10", "M11", "M12")}) == 1


def test_by_image_does_not_look_at_groups() -> None:
    split = assign_roles(crop_set(runs("M1", 2, 30) + runs("L2", 3, 30)), by_image=True)
    assert len(roles_of_groups(split)["M1-0"]) == len(ROLES)


def test_classes_with_fewer_groups_than_folds() -> None:
    crops = crop_set(runs("M1", 9) + runs("L2", 4) + runs("B1", 2))
    says = r"2 classes have fewer groups than there are folds, 5: B1 \(2\), L2 \(4\)\.$"
    with pytest.raises(HemeError, match=says) as error:
        assign_roles(crops)
    assert "--by-image" in error.value.hint


def test_copies_that_leave_too_few_groups() -> None:
    crops = crop_set(runs("M1", 5) + runs("L2", 5))
    says = r"A class has fewer groups .*: M1 \(4\), counting groups that share copies as one"
    with pytest.raises(HemeError, match=says):
        assign_roles(crops, copies=[("M1-0-0.png", "M1-1-0.png")])


def test_few_images_by_image() -> None:
    with pytest.raises(HemeError, match=r"fewer images than there are folds, 5: L2 \(3\)"):
        assign_roles(crop_set(runs("M1", 9) + runs("L2", 1, 3)), by_image=True)


def test_a_class_with_one_image() -> None:
    crops = crop_set(runs("M1", 9) + runs("U4", 1, 1))
    with pytest.raises(HemeError, match="one image only, copies left aside: U4"):
        assign_roles(crops)


def test_raised_copies_of_one_image_are_one() -> None:
    crops = crop_set(runs("M1", 9) + runs("U4", 9))
    copies = [tuple(c.file for c in crops.crops if c.code == "U4")]
    with pytest.raises(HemeError, match="one image only, copies left aside: U4"):
        assign_roles(crops, copies=copies)


def test_labels_that_are_no_class_need_no_groups() -> None:
    split = assign_roles(crop_set(runs("M1", 9) + runs("L2", 9) + runs("background", 1, 1)))
    assert set(missing_roles(split)) == set()


def test_a_class_that_misses_a_role() -> None:
    split = assign_roles(crop_set(runs("M1", 20) + runs("L2", 5)))
    assert set(missing_roles(split)) == {"L2"}


# -- split.csv


@pytest.fixture
def split() -> CropSet:
    made = assign_roles(crop_set(runs("M1", 9) + runs("L2", 9)))
    return replace(made, byte_hashes={c.file: f"{i:016x}" for i, c in enumerate(made.crops)})


def test_a_split_is_kept(tmp_path: Path, split: CropSet) -> None:
    path = tmp_path / "run" / "split.csv"
    write_split(path, split)
    header = path.read_text().splitlines()[0]
    assert header == "file,code,group,source,role,sha256,split_by"
    bare = replace(split, crops=[replace(c, role=TEST, group="?") for c in reversed(split.crops)],
                   roles_known=False, split_by="manifest", byte_hashes={})  # fmt: skip
    again = read_split(path, bare)
    assert again.digest() == split.digest()
    assert again.byte_hashes == split.byte_hashes
    assert (again.split_by, again.roles_known) == ("group", True)
    assert [p.name for p in path.parent.iterdir()] == ["split.csv"]


def test_what_was_left_out_stays_out(tmp_path: Path, split: CropSet) -> None:
    out = split.crops[0]
    write_split(tmp_path / "split.csv", replace(split, crops=split.crops[1:]), [out])
    assert out.file not in role_of(read_split(tmp_path / "split.csv", split))


@pytest.mark.parametrize("change", ["label", "more", "fewer"])
def test_a_split_of_other_crops(tmp_path: Path, split: CropSet, change: str) -> None:
    write_split(tmp_path / "split.csv", split)
    first, *rest = split.crops
    crops = {
        "label": [replace(first, code="M2"), *rest],
        "more": [*split.crops, replace(first, file="new.png")],
        "fewer": rest,
    }[change]
    name = "new.png" if change == "more" else first.file
    with pytest.raises(HemeError, match=f"split of other crops: 1 files .* such as '{name}'"):
        read_split(tmp_path / "split.csv", replace(split, crops=crops))


@pytest.mark.parametrize("text", ["", "file,role\na.png,test\n", "\xff"])
def test_no_split_file(tmp_path: Path, split: CropSet, text: str) -> None:
    (tmp_path / "split.csv").write_text(text, encoding="latin-1")
    with pytest.raises(HemeError, match=r"is no split of crops|cannot be read"):
        read_split(tmp_path / "split.csv", split)
