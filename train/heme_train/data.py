"""Labelled crops: a manifest beside tar shards (or plain files), or class folders.

Splits are by group and come from the manifest; nothing here mixes roles.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heme_edge.cells import cell_class
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_edge.photos import decode_photo

FOLDS = ("fold0", "fold1", "fold2", "fold3", "fold4")
TEST, CONFIDENCE = "test", "confidence"
BACKGROUND = "background"
"""Label of crops that show no cell; only used to change what lies around one."""
NUCLEATED = "nucleated"
"""Label of crops that show a nucleated cell of untold class: anything but artifact or platelet."""
UNNAMED = frozenset({BACKGROUND, NUCLEATED})
"""Labels that are no class of their own."""


@dataclass(frozen=True)
class Crop:
    """One row of a manifest: where the picture is, and what is known of it."""

    file: str
    code: str
    group: str
    source: str
    role: str


@dataclass(frozen=True)
class _Place:
    path: Path
    offset: int
    size: int


@dataclass
class CropSet:
    """Labelled crops and the bytes behind them, read on demand and never unpacked.

    Attributes:
        crops: the rows.
        places: file name in the manifest -> file, offset and size of its bytes.
    """

    crops: list[Crop]
    places: dict[str, _Place] = field(repr=False)

    def data(self, crop: Crop) -> bytes:
        """The encoded picture.

        Raises:
            HemeError: it is not in any shard.
        """
        place = self.places.get(crop.file)
        if place is None:
            raise HemeError(f"'{crop.file}' is in the manifest but in no shard beside it.")
        descriptor = os.open(place.path, os.O_RDONLY)
        try:
            return os.pread(descriptor, place.size, place.offset)
        finally:
            os.close(descriptor)

    def image(self, crop: Crop) -> Image:
        """The picture as RGB uint8 ``[H, W, 3]``."""
        return decode_photo(self.data(crop))

    def select(
        self, roles: Iterable[str], sources: Iterable[str] = (), codes: Iterable[str] = ()
    ) -> list[Crop]:
        """Rows of the given roles, sources and codes; an empty list of either means all."""
        role_set, source_set, code_set = set(roles), set(sources), set(codes)
        return [
            c
            for c in self.crops
            if c.role in role_set
            and (not source_set or c.source in source_set)
            and (not code_set or c.code in code_set)
        ]

    def joined(self, other: CropSet) -> CropSet:
        """Both sets as one.

        Raises:
            HemeError: a file name stands in both.
        """
        twice = self.places.keys() & other.places.keys()
        if twice:
            raise HemeError(f"'{min(twice)}' is in two crop sets.")
        return CropSet(self.crops + other.crops, self.places | other.places)

    def digest(self) -> str:
        """SHA-256 over file names, labels, groups and roles: which split a run was made on."""
        digest = hashlib.sha256()
        for c in sorted(self.crops, key=lambda c: c.file):
            digest.update("\t".join((c.file, c.code, c.group, c.source, c.role)).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def open_crops(path: Path) -> CropSet:
    """Reads a crop set.

    Args:
        path: a manifest (``file,code[,group,source,role]``), or a folder that holds one as
            ``*manifest.csv``. The pictures are files beside it, or members of ``*.tar``.

    Raises:
        HemeError: no manifest, several, a column is missing, a code is unknown, or a group
            stands in two roles.
    """
    manifest = path if path.is_file() else _find_manifest(path)
    crops = _read_manifest(manifest)
    _check_groups(crops)
    return CropSet(crops, _index(manifest.parent, {c.file for c in crops}))


def _find_manifest(folder: Path) -> Path:
    found = sorted(folder.glob("*manifest.csv"))
    if not found:
        raise HemeError(f"'{folder}' holds no manifest.", "Give the path of the manifest itself")
    preferred = [p for p in found if p.name == "crops-manifest.csv"]
    if len(found) > 1 and not preferred:
        raise HemeError(f"'{folder}' holds {len(found)} manifests.", "Give the path of one")
    return (preferred or found)[0]


def _read_manifest(manifest: Path) -> list[Crop]:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "code"} <= rows[0].keys():
        raise HemeError(f"'{manifest}' needs the columns file and code, and at least one row.")
    return [
        Crop(
            row["file"],
            row["code"] if row["code"] in UNNAMED else cell_class(row["code"]).code,
            row.get("group") or row["file"],
            row.get("source") or "unknown",
            row.get("role") or TEST,
        )
        for row in rows
    ]


def _check_groups(crops: list[Crop]) -> None:
    role_of: dict[str, str] = {}
    for crop in crops:
        if role_of.setdefault(crop.group, crop.role) != crop.role:
            raise HemeError(
                f"Group '{crop.group}' stands in two roles, {role_of[crop.group]} and {crop.role}.",
                "Keep each group (slide, patient) on one side of the split",
            )


def _index(folder: Path, wanted: set[str]) -> dict[str, _Place]:
    places = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                if member.isfile() and member.name in wanted:
                    places[member.name] = _Place(shard, member.offset_data, member.size)
    for name in wanted - places.keys():
        path = folder / name
        if path.is_file():
            places[name] = _Place(path, 0, path.stat().st_size)
    return places


def class_shares(crops: Iterable[Crop]) -> dict[str, dict[str, int]]:
    """Images per class and source: ``{code: {source: n}}``."""
    counts = Counter((c.code, c.source) for c in crops)
    shares: dict[str, dict[str, int]] = {}
    for (code, source), n in sorted(counts.items()):
        shares.setdefault(code, {})[source] = n
    return shares


def draw_weights(crops: list[Crop]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Chance of each crop per draw: classes equal; within one, sources by the root of their size.

    The root keeps a small source (a few false alarms) from taking a third of a class's draws,
    and a large one from drowning the others.
    """
    counts = Counter((c.code, c.source) for c in crops)
    roots: Counter[str] = Counter()
    for (code, _), n in counts.items():
        roots[code] += np.sqrt(n)
    return np.array(
        [1.0 / (len(roots) * roots[c.code] * np.sqrt(counts[c.code, c.source])) for c in crops]
    )
