"""From what a user gives to the crops of a run: looked at, free of leaks, every crop in a role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from heme_edge.errors import HemeError
from heme_train.data import BY_GROUP, BY_IMAGE, FOLDS, UNNAMED, CropSet, open_crops
from heme_train.duplicates import DuplicateReport, duplicate_report, keep_copies_together
from heme_train.split import (
    SPLIT_FILE,
    assign_roles,
    missing_roles,
    read_split,
    write_split,
    write_table,
)
from heme_train.survey import Survey, check_sizes, readable, survey

DUPLICATES_FILE = "duplicates.csv"
Say = Callable[[str], None]


def prepare(
    data: Path | CropSet,
    run: Path,
    *,
    seed: int = 0,
    by_image: bool = False,
    mixed_sizes: bool = False,
    skip_unreadable: bool = False,
    group_pattern: str | None = None,
    extra: CropSet | None = None,
    say: Say = lambda _: None,
) -> CropSet:
    """The crops of a run, with final roles, ``split_by`` and ``byte_hashes``.

    The first time every picture is read, copies are found, roles are made where there are
    none, and ``split.csv`` and ``duplicates.csv`` are written to ``run``; after that the roles
    come from that ``split.csv`` and no picture is read.

    Args:
        data: a crop set, or what ``open_crops`` takes.
        run: run folder; of a run with a member per fold, the folder that holds them all.
        seed: of the split.
        by_image: split by image, where groups are not known or too few.
        mixed_sizes: allow sizes that differ within a source, some smaller than a crop.
        skip_unreadable: leave out what cannot be read.
        group_pattern: see ``open_crops``; only used where ``data`` is a path.
        extra: more crops with roles, such as detector false alarms; joined to ``data``.
        say: called with sentences for the user.

    Raises:
        HemeError: see ``open_crops``, ``readable``, ``check_sizes``, ``assign_roles`` and
            ``read_split``; or a class has one image to train on.
    """
    crops = open_crops(data, group_pattern) if isinstance(data, Path) else data
    for sentence in _of_skipped(crops):
        say(sentence)
    path = run / SPLIT_FILE
    if path.is_file():
        return _reused(path, _with(crops, extra), by_image)
    both = _with(crops, extra)
    seen = survey(both)
    kept = readable(both, seen, skip_unreadable)
    check_sizes(seen, mixed_sizes, say)
    found = duplicate_report(seen)
    made = _roles(crops, kept, found, seed, by_image)
    whole, moved = keep_copies_together(made, found.sets)
    _check_trained(whole)
    _write(run, whole, seen, found)
    for sentence in _of_split(crops, whole, seen, found, moved, by_image):
        say(sentence)
    return whole


def _with(crops: CropSet, extra: CropSet | None) -> CropSet:
    """Both sets; the roles of ``crops`` may still be unknown."""
    if extra is None:
        return crops
    if not extra.roles_known:
        raise HemeError("The extra crops have no roles.", "Give their manifest a column role")
    both = replace(crops, roles_known=True).joined(extra)
    return replace(both, roles_known=crops.roles_known, groups_known=crops.groups_known)


def _reused(path: Path, crops: CropSet, by_image: bool) -> CropSet:
    split = read_split(path, crops)
    if split.split_by == BY_IMAGE and not by_image:
        raise HemeError(f"'{path}' was made by image.", "Add --by-image, or choose another --run")
    if split.split_by == BY_GROUP and by_image:
        raise HemeError(
            f"'{path}' was made by group.", "Leave --by-image out, or choose another --run"
        )
    return split


def _roles(
    crops: CropSet, kept: CropSet, found: DuplicateReport, seed: int, by_image: bool
) -> CropSet:
    """Gives roles to those of ``kept`` that have none, which are those of ``crops``."""
    if crops.roles_known:
        return kept
    own = {c.file for c in crops.crops}
    mine = replace(kept, crops=[c for c in kept.crops if c.file in own])
    others = [c for c in kept.crops if c.file not in own]
    made = assign_roles(mine, seed, by_image, found.sets)
    return replace(made, crops=made.crops + others)


def _check_trained(crops: CropSet) -> None:
    """No class may have one single image to train on."""
    counts = Counter(c.code for c in crops.select(FOLDS) if c.code not in UNNAMED)
    if single := sorted(code for code, n in counts.items() if n == 1):
        raise HemeError(
            f"One image only is left to train on of: {', '.join(single)}.",
            "Add images of it to the roles fold0 to fold4, or leave the class out",
        )


def _write(run: Path, crops: CropSet, seen: Survey, found: DuplicateReport) -> None:
    crop_of = {c.file: c for c in crops.crops}
    pixels = {c.file: p for c, p in zip(seen.crops, seen.pixel_hashes, strict=True)}
    rows: list[tuple[str, ...]] = []
    for number, files in enumerate(found.sets):
        same = Counter(pixels[f] for f in files)
        for file in files:
            c, kind = crop_of[file], "exact" if same[pixels[file]] > 1 else "near"
            rows.append((str(number), kind, file, c.code, c.group, c.source, c.role))
    columns = ("set", "kind", "file", "code", "group", "source", "role")
    write_table(run / DUPLICATES_FILE, columns, rows)
    write_split(run / SPLIT_FILE, crops, [c for c, _ in seen.unreadable])  # last: it ends the work


def _of_skipped(crops: CropSet) -> list[str]:
    if not crops.skipped:
        return []
    listed = "; ".join(f"'{name}' {reason}" for name, reason in crops.skipped[:3])
    more = "; …" if len(crops.skipped) > 3 else ""
    return [f"Left out while reading: {len(crops.skipped)} ({listed}{more})."]


def _of_split(
    given: CropSet,
    made: CropSet,
    seen: Survey,
    found: DuplicateReport,
    moved: int,
    by_image: bool,
) -> list[str]:
    """What the user should know of the split that was just made."""
    sentences = [found.sentence()]
    if given.roles_known and by_image:
        sentences.append("The roles are those of the manifest; --by-image is not used.")
    if seen.unreadable:
        sentences.append(f"{len(seen.unreadable)} unreadable pictures are left out.")
    if not given.roles_known and found.crossing_groups and made.split_by == BY_GROUP:
        sentences.append("Groups that share copies stay together in one role.")
    if moved:
        sentences.append(f"{moved} copies were moved to the strictest role of their set.")
    if not given.roles_known:
        counts = Counter(c.role for c in made.crops)
        listed = ", ".join(f"{n} {role}" for role, n in sorted(counts.items()))
        sentences.append(f"Roles were made by {made.split_by}: {listed}.")
        for code, roles in missing_roles(made).items():
            sentences.append(f"Class {code} has no image in {', '.join(roles)}.")
    return sentences
