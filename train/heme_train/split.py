"""Roles where nobody gave any: whole groups, every class spread over all roles; and split.csv."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.errors import HemeError
from heme_train.data import (
    BY_GROUP,
    BY_IMAGE,
    CONFIDENCE,
    FOLDS,
    ROLES,
    TEST,
    UNNAMED,
    Crop,
    CropSet,
)
from heme_train.duplicates import Sets

SPLIT_FILE = "split.csv"
SHARES = {TEST: 1 / 6, CONFIDENCE: 1 / 12} | {fold: 3 / 4 / len(FOLDS) for fold in FOLDS}
"""Share of the images of each class in each role."""
COLUMNS = ("file", "code", "group", "source", "role", "sha256", "split_by")

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class _Unit:
    """Crops that must have one role: a group, or several that share copies.

    ``pictures`` stands beside ``crops``: copies have the same number.
    """

    crops: tuple[Crop, ...]
    pictures: tuple[int, ...]


def assign_roles(
    crops: CropSet,
    seed: int = 0,
    by_image: bool = False,
    copies: Iterable[Sequence[str]] = (),
    shares: dict[str, float] = SHARES,
) -> CropSet:
    """Gives every crop a role; the same for the same seed, whatever the order of the rows.

    Groups that share copies are joined first. Then whole groups go, those with the largest
    part of some class first, to the role that lacks most of what they hold (after K. Sechidis,
    G. Tsoumakas, I. Vlahavas, *On the stratification of multi-label data*, 2011; here with
    groups), and single groups move on while that brings the shares nearer to ``shares``.

    Args:
        crops: rows whose ``role`` is not looked at.
        seed: of ties.
        by_image: every image is a group of its own, whatever its group.
        copies: sets of file names of one picture, from ``heme_train.duplicates``; names of
            other crop sets in them are passed over.
        shares: role -> its share of every class.

    Raises:
        HemeError: the groups are not known and ``by_image`` is False, a class has one picture,
            or a class has fewer groups than there are folds.
    """
    if not (crops.groups_known or by_image):
        raise HemeError(
            "Nobody knows which slide each image is from.",
            "Give a manifest with a column group or slide, a sub-folder per slide, or a "
            "--group-pattern; or accept an image-level split with --by-image, which overstates "
            "every figure",
        )
    units = _units(crops.crops, by_image, copies)
    _check_classes(crops.crops, units, by_image)
    amounts = _amounts(units)
    part = np.array([shares[role] for role in ROLES])
    roles = _refined(amounts, part, _greedy(amounts, part, np.random.default_rng(seed)))
    role_of = {c.file: ROLES[r] for unit, r in zip(units, roles, strict=True) for c in unit.crops}
    rows = [replace(c, role=role_of[c.file]) for c in crops.crops]
    how = BY_IMAGE if by_image else BY_GROUP
    return replace(crops, crops=rows, roles_known=True, split_by=how)


def _units(crops: list[Crop], by_image: bool, copies: Iterable[Sequence[str]]) -> list[_Unit]:
    """The units, in an order that the order of the rows does not change."""
    rows = sorted(crops, key=lambda c: c.file)
    index = {c.file: i for i, c in enumerate(rows)}
    pictures, together = Sets(len(rows)), Sets(len(rows))
    for files in copies:
        known = [index[f] for f in files if f in index]
        for i in known[1:]:
            pictures.join(known[0], i)
            together.join(known[0], i)
    first: dict[str, int] = {}
    for i, c in enumerate(rows):
        together.join(first.setdefault(c.file if by_image else c.group, i), i)
    members: dict[int, list[int]] = {}
    for i in range(len(rows)):
        members.setdefault(together.root(i), []).append(i)
    return [
        _Unit(tuple(rows[i] for i in m), tuple(pictures.root(i) for i in m))
        for m in members.values()
    ]


def _check_classes(crops: list[Crop], units: list[_Unit], by_image: bool) -> None:
    groups = Counter(code for unit in units for code in {c.code for c in unit.crops})
    pictures: dict[str, set[int]] = {}
    for unit in units:
        for crop, picture in zip(unit.crops, unit.pictures, strict=True):
            pictures.setdefault(crop.code, set()).add(picture)
    named = sorted(pictures.keys() - UNNAMED)
    if single := [c for c in named if len(pictures[c]) == 1]:
        raise HemeError(
            f"{_classes(single)} one image only, copies left aside: {', '.join(single)}.",
            "Leave it out, or add images of other slides",
        )
    if few := [c for c in named if groups[c] < len(FOLDS)]:
        kind = "images" if by_image else "groups"
        listed = ", ".join(f"{c} ({groups[c]})" for c in few)
        joined = not by_image and len(units) < len({c.group for c in crops})
        note = ", counting groups that share copies as one" if joined else ""
        raise HemeError(
            f"{_classes(few)} fewer {kind} than there are folds, {len(FOLDS)}: {listed}{note}.",
            "Leave it out, or add images"
            if by_image
            else "Leave it out, add slides, or split by image with --by-image, which overstates "
            "every figure",
        )


def _classes(codes: Sequence[str]) -> str:
    return "A class has" if len(codes) == 1 else f"{len(codes)} classes have"


def _amounts(units: list[_Unit]) -> Matrix:
    """``[U, S]``: the part of each stratum that lies in each unit; every column sums to 1.

    Strata are the images of a class, those of a class and source, the groups of a class, and
    all images.
    """
    strata: dict[tuple[str, ...], int] = {}
    entries: list[tuple[int, int, int]] = []
    for u, unit in enumerate(units):
        counts = Counter((c.code, c.source) for c in unit.crops)
        found: Counter[tuple[str, ...]] = Counter({("all",): len(unit.crops)})
        for (code, source), n in counts.items():
            found["class", code] += n
            found["source", code, source] += n
            found["groups", code] = 1
        entries += [(u, strata.setdefault(s, len(strata)), n) for s, n in sorted(found.items())]
    amounts = np.zeros((len(units), len(strata)))
    at = np.array(entries)
    amounts[at[:, 0], at[:, 1]] = at[:, 2]
    return np.asarray(amounts / amounts.sum(0), np.float64)


def _greedy(amounts: Matrix, part: Matrix, rng: np.random.Generator) -> NDArray[np.int64]:
    """Role of each unit: the one that lacks most of what the unit holds, ties by chance.

    Minimises the sum over roles and strata of (share there - share wanted) squared: a unit adds
    -2 (unit . lack) + a constant.
    """
    lack = np.repeat(part[:, None], amounts.shape[1], axis=1)
    roles = np.zeros(len(amounts), np.int64)
    order = np.lexsort((rng.permutation(len(amounts)), -amounts.max(1).round(9)))
    for u in order:
        gain = (lack @ amounts[u]).round(12)
        best = np.flatnonzero(gain == gain.max())
        roles[u] = best[rng.integers(len(best))]
        lack[roles[u]] -= amounts[u]
    return roles


def _refined(
    amounts: Matrix, part: Matrix, roles: NDArray[np.int64], rounds: int = 8
) -> NDArray[np.int64]:
    """Moves single units to other roles while that lessens what ``_greedy`` minimises."""
    lack = np.repeat(part[:, None], amounts.shape[1], axis=1)
    np.subtract.at(lack, roles, amounts)
    weight = (amounts * amounts).sum(1)
    for _ in range(rounds):
        moved = 0
        for u in range(len(amounts)):
            own = int(roles[u])
            gain = lack @ amounts[u]
            gain[own] += weight[u]  # as if the unit were nowhere
            best = int(gain.argmax())
            if gain[best] > gain[own] + 1e-9:
                lack[own] += amounts[u]
                lack[best] -= amounts[u]
                roles[u], moved = best, moved + 1
        if not moved:
            break
    return roles


def missing_roles(crops: CropSet) -> dict[str, tuple[str, ...]]:
    """Class -> the roles that hold no image of it; only classes that miss one."""
    held: dict[str, set[str]] = {}
    for c in crops.crops:
        if c.code not in UNNAMED:
            held.setdefault(c.code, set()).add(c.role)
    return {
        code: tuple(r for r in ROLES if r not in roles)
        for code, roles in sorted(held.items())
        if len(roles) < len(ROLES)
    }


# -- split.csv


def write_split(path: Path, crops: CropSet, left_out: Iterable[Crop] = ()) -> None:
    """Writes who has which role: ``file,code,group,source,role,sha256,split_by``.

    ``sha256`` is the ``byte_hash``. Crops that were left out as unreadable have rows without
    role, so that the file lists the whole crop set.
    """
    gone = [replace(c, role="") for c in left_out]
    rows = [
        (
            c.file,
            c.code,
            c.group,
            c.source,
            c.role,
            crops.byte_hashes.get(c.file, ""),
            crops.split_by,
        )
        for c in (*crops.crops, *gone)
    ]
    write_table(path, COLUMNS, sorted(rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    part.replace(path)


def split_of_run(run: Path) -> Path | None:
    """The ``split.csv`` of a run or of the run that a member folder lies in."""
    return next((f / SPLIT_FILE for f in (run, run.parent) if (f / SPLIT_FILE).is_file()), None)


def read_split(path: Path, crops: CropSet) -> CropSet:
    """The crops with the groups, roles and hashes of a ``split.csv``.

    Raises:
        HemeError: it is no such file, or of other files or labels.
    """
    rows = _read_rows(path)
    labels = {c.file: (c.code, c.source) for c in crops.crops}
    other = {name for name, row in rows.items() if labels.get(name) != (row["code"], row["source"])}
    other |= labels.keys() - rows.keys()
    if other:
        raise HemeError(
            f"'{path}' is the split of other crops: {len(other)} files or labels differ, "
            f"such as '{min(other)}'.",
            "Choose another --run, or give the crops this run was started on",
        )
    made = [Crop(c.file, c.code, r["group"], c.source, r["role"])
            for c in crops.crops if (r := rows[c.file])["role"]]  # fmt: skip
    return replace(
        crops,
        crops=made,
        roles_known=True,
        split_by=next(iter(rows.values()))["split_by"],
        byte_hashes={c.file: rows[c.file]["sha256"] for c in made},
    )


def _read_rows(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HemeError(f"'{path}' cannot be read.") from error
    bad = [r for r in rows if None in r.values() or r["role"] not in (*ROLES, "")]
    if names != COLUMNS or not rows or bad:
        raise HemeError(f"'{path}' is no split of crops.", "Choose another --run")
    return {row["file"]: row for row in rows}
