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

from heme_edge.errors import HemeError
from heme_edge.results import NamedCell
from heme_edge.tally import UNCERTAIN, Tally

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
]
PHOTOS_HEADER = ["photo", "status", "cells", "reason"]
DIFFERENTIAL_HEADER = ["code", "name", "count", "percent", "low95", "high95"]
READ, SKIPPED = "read", "skipped"


class OutputError(HemeError):
    """The results cannot be written; what was written before is whole."""


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo.

    Attributes:
        photo: its name in the results.
        um_per_px: its scale.
        cells: what was found, possibly nothing.
        problem: why it was skipped; empty when it was read.
    """

    photo: str
    um_per_px: float
    cells: Sequence[NamedCell] = ()
    problem: str = ""


class ResultFiles:
    """Writes results as they come, whole photos at a time.

    Their rows are written with one call, so that an interruption leaves whole rows; after
    a failed write (a full disk) the file is cut back to its last whole photo.

    Args:
        folder: made if it is missing.
        names: class code to name.

    Raises:
        OutputError: the folder or a file cannot be made.
    """

    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        self._folder, self._names = folder, names
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._cells = _Table(folder / "cells.csv", CELLS_HEADER)
            self._photos = _Table(folder / "photos.csv", PHOTOS_HEADER)
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
            cells += [self._cell_row(r.photo, cell, r.um_per_px) for cell in r.cells]
            photos.append([r.photo, SKIPPED if r.problem else READ, len(r.cells), r.problem])
        try:
            self._cells.add(cells)
            self._photos.add(photos)
        except OSError as error:
            raise _output_error(self._folder, error) from error

    def finish(self, tally: Tally, about: dict[str, Any]) -> None:
        """Writes differential.csv and run.json, each whole or not at all."""
        try:
            write_whole(self._folder / "differential.csv", _differential_text(tally).encode())
            write_whole(self._folder / "run.json", json.dumps(about, indent=1).encode() + b"\n")
        except OSError as error:
            raise _output_error(self._folder, error) from error

    def _cell_row(self, photo: str, named: NamedCell, um_per_px: float) -> list[Any]:
        cell, name = named.cell, named.name
        return [
            photo,
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
        ]


class _Table:
    """A CSV file written without a buffer, which never ends in half a row."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
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


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        OSError: as the file system says.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _output_error(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The results cannot be written to '{folder}' ({error.strerror or error}).",
        "Free space or choose another --out; rows already written are whole",
    )
