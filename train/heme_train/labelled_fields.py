"""Fields of a camera in which cells are labelled: which files, and where the cells are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from heme_edge.errors import HemeError

FIT = "fit"
"""The role of fields that may be trained on and chosen by."""


@dataclass(frozen=True)
class Fields:
    """Annotated fields of one camera.

    Attributes:
        images: folder the file names are relative to.
        annotations: CSV ``file,label,x0,y0,x1,y1``, px.
        split: CSV ``file,role``.
        role: the role to cut from.
        label: of the true cells.
        only: file name pattern.
        um_per_px: scale.
    """

    images: Path
    annotations: Path
    split: Path
    role: str
    label: str
    only: str
    um_per_px: float


@dataclass(frozen=True)
class Box:
    """A labelled object, px; a point has no extent."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float

    def distance(self, x: float, y: float) -> float:
        """From a point to the box, px; 0 inside."""
        dx = max(self.x0 - x, 0.0, x - self.x1)
        dy = max(self.y0 - y, 0.0, y - self.y1)
        return float(np.hypot(dx, dy))


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Labelled objects by file of a CSV ``file,label,x0,y0,x1,y1`` (px).

    Raises:
        HemeError: the file is no such table.
    """
    boxes: dict[str, list[Box]] = {}
    try:
        for row in _rows(path):
            x0, y0 = float(row["x0"]), float(row["y0"])
            box = Box(row["label"], x0, y0, float(row["x1"] or x0), float(row["y1"] or y0))
            boxes.setdefault(row["file"], []).append(box)
    except (KeyError, ValueError) as error:
        raise HemeError(
            f"'{path}' is no table of labelled fields ({error}).", "file,label,x0,y0,x1,y1 in px"
        ) from error
    return boxes


def files_of(fields: Fields) -> list[str]:
    """Names of the fields of the wanted role and pattern.

    Raises:
        HemeError: there is none, or the split is no CSV ``file,role``.
    """
    try:
        found = [
            row["file"]
            for row in _rows(fields.split)
            if row["role"] == fields.role and fnmatch(row["file"], fields.only)
        ]
    except KeyError as error:
        raise HemeError(f"'{fields.split}' has no column {error}.", "file,role") from error
    if not found:
        raise HemeError(
            f"No field has the role '{fields.role}' and matches '{fields.only}'.",
            f"Patterns are of the names in {fields.split}",
        )
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
