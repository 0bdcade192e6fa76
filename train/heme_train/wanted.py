"""Which crops an evaluation measures, and what there is to say about the choice."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from heme_edge.cells import cell_class
from heme_edge.errors import HemeError
from heme_train.data import BY_IMAGE, FOLDS, UNNAMED, Crop, CropSet, open_crops

EXTERNAL = "external-manifest.csv"
OTHER_SPLIT = (
    "These crops are not the set this model was split on: some of them may have been trained on."
)
NO_ROLES = (
    "The crops have no roles, so all are measured, and whether the model was trained on any of "
    "them cannot be told."
)
SPLIT_BY_IMAGE = (
    "The roles were made image by image: cells of one slide stand in training and in test, which "
    "overstates every figure."
)


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        data: what ``open_crops`` takes; None for ``crops`` in $HEME_DATA.
        roles, sources, codes: only crops of these; no source or code means all.
        only: ``CODE:SOURCE`` pairs; where there is one, only crops of such a pair.
        external: take all crops of ``external-manifest.csv`` beside the data instead.
        split: ``split.csv`` of a run, whose roles hold instead of the data's own.
    """

    data: Path | None = None
    roles: tuple[str, ...] = ("test",)
    sources: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    external: bool = False
    split: Path | None = None


@dataclass(frozen=True)
class Chosen:
    """The crops to measure, and sentences on how they were chosen."""

    crops: CropSet
    rows: list[Crop]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def shared_folder(name: str) -> Path | None:
    """A folder of $HEME_DATA, where it is there."""
    folder = os.environ.get("HEME_DATA")
    path = Path(folder) / name if folder else None
    return path if path is not None and path.exists() else None


def choose(wanted: Wanted, split_on: str = "") -> Chosen:
    """The crop set and the rows of it that are measured.

    Args:
        wanted: what was asked for.
        split_on: digest of the crops that the model was split on, where it tells one.

    Raises:
        HemeError: there is no data, no such row, or an ``only`` is not CODE:SOURCE.
    """
    data = wanted.data or shared_folder("crops")
    if data is None:
        raise HemeError("There are no crops to evaluate on.", "--data FOLDER, or set HEME_DATA")
    crops, notes, warnings = _open(data, wanted, split_on)
    roles = {c.role for c in crops.crops} if wanted.external else set(wanted.roles)
    codes = [cell_class(code).code for code in wanted.codes]
    pairs = {_pair(item) for item in wanted.only}
    rows = [
        c
        for c in crops.select(roles, wanted.sources, codes)
        if c.code not in UNNAMED and (not pairs or (c.code, c.source) in pairs)
    ]
    if not rows:
        raise HemeError(
            "There are no crops to evaluate on.", "Check --role, --source, --code and --only"
        )
    return Chosen(crops, rows, notes, warnings)


def _open(
    data: Path, wanted: Wanted, split_on: str
) -> tuple[CropSet, tuple[str, ...], tuple[str, ...]]:
    """The crops with the roles that hold, notes and warnings."""
    if wanted.external:
        return open_crops(_external_manifest(data)), (), ()
    crops = open_crops(data)
    roles = _read_split(wanted.split) if wanted.split else {}
    known = [c for c in crops.crops if c.file in roles]
    if known:
        return _with_roles(crops, known, roles)
    if not crops.roles_known:
        return crops, (NO_ROLES,), ()
    other = split_on and crops.digest() != split_on and any(c.role in FOLDS for c in crops.crops)
    return crops, (), (OTHER_SPLIT,) if other else ()


def _with_roles(
    crops: CropSet, known: list[Crop], roles: Mapping[str, Mapping[str, str]]
) -> tuple[CropSet, tuple[str, ...], tuple[str, ...]]:
    rows = [replace(c, role=roles[c.file]["role"], group=roles[c.file]["group"]) for c in known]
    left = len(crops.crops) - len(known)
    notes = (f"{left} crops are not in the run's split and are left out.",) if left else ()
    by_image = any(row["split_by"] == BY_IMAGE for row in roles.values())
    return replace(crops, crops=rows), notes, (SPLIT_BY_IMAGE,) if by_image else ()


def _read_split(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a ``split.csv`` by file; unlike ``split.read_split`` the crops may be fewer."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
        if not all({"role", "group", "split_by"} <= row.keys() for row in rows.values()):
            raise KeyError("role, group or split_by")
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise HemeError(f"'{path}' is no split of crops ({error}).", "--split RUN/split.csv") from (
            error
        )
    return rows


def _external_manifest(data: Path) -> Path:
    path = (data if data.is_dir() else data.parent) / EXTERNAL
    if not path.is_file():
        raise HemeError(f"There is no '{path}'.", "--data FOLDER with the external crops")
    return path


def _pair(item: str) -> tuple[str, str]:
    code, mark, source = item.partition(":")
    if not (mark and source):
        raise HemeError(f"'{item}' is not CODE:SOURCE.", "--only M6:matek")
    return cell_class(code).code, source
