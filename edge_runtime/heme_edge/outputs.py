"""The files of an offline run: cells.csv, photos.csv, differential.csv and run.json."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_edge.results import NamedCell
from heme_edge.resume import Journal, Row, table_text
from heme_edge.tally import UNCERTAIN, Tally
from heme_edge.writing import write_whole

CELLS_HEADER = [
    "photo",
    "x_px",
    "y_px",
    "radius_um",
    "code",
    "name",
    "probability",
    "second_code",
    "second_probability",
    "disagreement",
    "counted",
    "reason",
    "slide_x_um",
    "slide_y_um",
]
PHOTOS_HEADER = ["photo", "status", "cells", "reason", "field", "slide_x_um", "slide_y_um"]
DIFFERENTIAL_HEADER = ["code", "name", "count", "percent", "low95", "high95"]
READ, SKIPPED = "read", "skipped"


class OutputError(HemeError):
    """The results cannot be written; what was written before is whole."""


@dataclass(frozen=True)
class Kept:
    """What only a session keeps of a photo or field.

    Attributes:
        probabilities: of its cells, float32 ``[N, C]``.
        crops: of its cells, uint8 ``[N, 96, 96, 3]``.
        width_um, height_um: what it shows.
    """

    probabilities: NDArray[np.float32]
    crops: Image
    width_um: float
    height_um: float


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo, or of one field of a whole slide.

    Attributes:
        photo: its name in the results; a slide's fields all have the slide's.
        um_per_px: its scale; of a slide, of its finest level.
        cells: what was found, possibly nothing; on a slide in px of its finest level.
        problem: why it was skipped; empty when it was read.
        field: the verdict of its score; empty for single cells and what was skipped.
        corner_um: where the field lies on a slide: left and top; None for a photo.
        kept: for a session; None without one.
    """

    photo: str
    um_per_px: float
    cells: Sequence[NamedCell] = ()
    problem: str = ""
    field: str = ""
    corner_um: tuple[float, float] | None = None
    kept: Kept | None = None


def corner_text(corner_um: tuple[float, float] | None) -> tuple[str, str]:
    """The place of a field in ``photos.csv``; empty for a photo."""
    return ("", "") if corner_um is None else (f"{corner_um[0]:.1f}", f"{corner_um[1]:.1f}")


class ResultFiles:
    """Writes results as they come, whole photos at a time.

    Their rows are written with one call, so that an interruption leaves whole rows; after
    a failed write (a full disk) the file is cut back to its last whole photo.

    Args:
        folder: made if it is missing.
        names: class code to name.
        asked: fingerprint of what was asked for; an interrupted run of the same is gone on with.

    Attributes:
        earlier: what that run wrote.

    Raises:
        OutputError: the folder or a file cannot be made.
    """

    def __init__(self, folder: Path, names: dict[str, str], asked: str = "") -> None:
        self._folder, self._names = folder, names
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(folder, asked)
            self.earlier = self._journal.earlier(CELLS_HEADER, PHOTOS_HEADER)
            self._cells = _Table(folder / "cells.csv", CELLS_HEADER, self.earlier.cells)
            self._photos = _Table(folder / "photos.csv", PHOTOS_HEADER, self.earlier.photos)
            self._journal.begin(self.earlier)
        except OSError as error:
            raise _output_error(folder, error) from error

    def __enter__(self) -> ResultFiles:
        """For ``with``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes both tables."""
        self._cells.close()
        self._photos.close()

    def add(self, results: Iterable[PhotoResult]) -> None:
        """Adds photos: every cell of those that were read, a reason for those that were not."""
        cells: list[list[Any]] = []
        photos: list[list[Any]] = []
        for r in results:
            cells += [self._cell_row(r, cell) for cell in r.cells]
            status = SKIPPED if r.problem else READ
            place = corner_text(r.corner_um)
            photos.append([r.photo, status, len(r.cells), r.problem, r.field, *place])
        try:
            self._cells.add(cells)
            self._photos.add(photos)
        except OSError as error:
            raise _output_error(self._folder, error) from error

    def end_slide(self, report: dict[str, Any]) -> None:
        """Notes that a slide was read to its end, or until there were enough cells."""
        try:
            self._journal.end_slide(report)
        except OSError as error:
            raise _output_error(self._folder, error) from error

    @property
    def slides(self) -> list[dict[str, Any]]:
        """Reports of the slides done."""
        return self._journal.slides

    def finish(self, tally: Tally, about: dict[str, Any], *, complete: bool = True) -> None:
        """Writes differential.csv and run.json, each whole or not at all.

        An incomplete run is gone on with when the same is asked again.
        """
        try:
            write_whole(self._folder / "differential.csv", _differential_text(tally).encode())
            write_whole(self._folder / "run.json", json.dumps(about, indent=1).encode() + b"\n")
            if complete:
                self._journal.end()
        except OSError as error:
            raise _output_error(self._folder, error) from error

    def _cell_row(self, result: PhotoResult, named: NamedCell) -> list[Any]:
        cell, name, um_per_px = named.cell, named.name, result.um_per_px
        on_slide = result.corner_um is not None
        return [
            result.photo,
            f"{cell.x_px:.1f}",
            f"{cell.y_px:.1f}",
            "" if math.isnan(cell.radius_px) else f"{cell.radius_px * um_per_px:.2f}",
            name.code,
            self._names[name.code],
            f"{name.probability:.4f}",
            name.second_code,
            f"{name.second_probability:.4f}",
            f"{name.disagreement:.4f}",
            "true" if named.counted else "false",
            named.reason,
            *(f"{at * um_per_px:.2f}" if on_slide else "" for at in (cell.x_px, cell.y_px)),
        ]


class _Table:
    """A CSV file written without a buffer, which never ends in half a row."""

    def __init__(self, path: Path, header: Sequence[str], rows: Sequence[Row]) -> None:
        if rows:
            write_whole(path, table_text(header, rows).encode())
            self._file = path.open("ab", buffering=0)
            return
        self._file = path.open("wb", buffering=0)
        self.add([list(header)])

    def add(self, rows: list[list[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        rest = memoryview(text.getvalue().encode())
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):  # a device has no length to cut back
                os.ftruncate(self._file.fileno(), whole)
            raise

    def close(self) -> None:
        self._file.close()


def _differential_text(tally: Tally) -> str:
    """Counted classes with Wilson intervals; uncertain cells have a row without a percentage."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DIFFERENTIAL_HEADER)
    for r in tally.rows():
        percentages = (f"{v:.2f}" for v in (r.percent, r.low95, r.high95))
        writer.writerow([r.code, r.name, r.count, *percentages])
    uncertain = "not counted: no name was certain enough"
    writer.writerow([UNCERTAIN, uncertain, tally.left_out[UNCERTAIN], "", "", ""])
    return text.getvalue()


def _output_error(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The results cannot be written to '{folder}' ({error.strerror or error}).",
        "Free space or choose another --out; rows already written are whole",
    )
