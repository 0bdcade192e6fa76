"""Labelled crops: the rows, the bytes behind them, and how often each is drawn.

Reading them from a disk is ``heme_train.reading``; roles where a manifest gives none are
``heme_train.split``; what a training run is given is ``heme_train.prepare``.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_edge.photos import byte_hash as byte_hash
from heme_edge.photos import decode_photo

FOLDS = ("fold0", "fold1", "fold2", "fold3", "fold4")
TEST, CONFIDENCE = "test", "confidence"
ROLES = (TEST, CONFIDENCE, *FOLDS)
"""Strictest first: a picture that stands in two roles belongs to the first of them."""
BACKGROUND = "background"
"""Label of crops that show no cell; only used to change what lies around one."""
NUCLEATED = "nucleated"
"""Label of crops that show a nucleated cell of untold class: anything but artifact or platelet."""
UNNAMED = frozenset({BACKGROUND, NUCLEATED})
"""Labels that are no class of their own."""
BY_MANIFEST, BY_GROUP, BY_IMAGE = "manifest", "group", "image"
"""How a split was made (``CropSet.split_by``)."""


@dataclass(frozen=True)
class Crop:
    """One row of a manifest: where the picture is, and what is known of it."""

    file: str
    code: str
    group: str
    source: str
    role: str


@dataclass(frozen=True)
class Place:
    """Where the bytes of one picture lie."""

    path: Path
    offset: int
    size: int


@dataclass
class CropSet:
    """Labelled crops and the bytes behind them, read on demand and never unpacked.

    Attributes:
        crops: the rows. Where nobody gave roles, all stand as ``test``: nothing trains on them
            before ``heme_train.prepare`` has made roles.
        places: file name in the manifest -> file, offset and size of its bytes.
        groups_known: whether somebody told the group (slide, patient) of every crop; where one
            is not told, the crop is a group of its own.
        roles_known: whether roles were given or made.
        skipped: what was left out while reading: ``(name, reason)``.
        split_by: ``manifest``, ``group`` or ``image``: how the roles were made.
        byte_hashes: file name -> ``byte_hash`` of its bytes; empty before ``prepare``.
    """

    crops: list[Crop]
    places: dict[str, Place] = field(repr=False)
    groups_known: bool = True
    roles_known: bool = True
    skipped: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    split_by: str = BY_MANIFEST
    byte_hashes: dict[str, str] = field(default_factory=dict, repr=False)

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
            HemeError: a file name stands in both, or only one of the two has roles.
        """
        twice = self.places.keys() & other.places.keys()
        if twice:
            raise HemeError(f"'{min(twice)}' is in two crop sets.")
        if self.crops and other.crops and self.roles_known != other.roles_known:
            raise HemeError(
                "One crop set has roles and the other has none.",
                "Give both manifests a role column, or neither",
            )
        first = self if self.crops or not other.crops else other
        return CropSet(
            self.crops + other.crops,
            self.places | other.places,
            self.groups_known and other.groups_known,
            first.roles_known,
            self.skipped + other.skipped,
            first.split_by,
            self.byte_hashes | other.byte_hashes,
        )

    def digest(self) -> str:
        """SHA-256 over file names, labels, groups and roles: which split a run was made on."""
        digest = hashlib.sha256()
        for c in sorted(self.crops, key=lambda c: c.file):
            digest.update("\t".join((c.file, c.code, c.group, c.source, c.role)).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def open_crops(path: Path, group_pattern: str | None = None) -> CropSet:
    """Reads a crop set: a manifest and its pictures or shards, or class folders.

    See ``heme_train.reading.read_crops`` for the layouts and the errors.
    """
    from heme_train.reading import read_crops

    return read_crops(path, group_pattern)


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
