"""Going on where an interrupted offline run stopped.

While a run goes on, its folder holds a journal with the fingerprint of what was asked. The same
request finds it, cuts the tables back to their last whole photo (or field of a slide), and goes
on; another request, or a finished run, begins anew.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heme_edge.writing import write_whole

JOURNAL = ".unfinished.json"
Row = dict[str, str]


@dataclass(frozen=True)
class Earlier:
    """Rows that an interrupted run wrote, in order.

    Attributes:
        photos: of ``photos.csv``.
        cells: of ``cells.csv``; of the photos in ``photos`` only.
        slides: reports of the slides that were done.
    """

    photos: tuple[Row, ...] = ()
    cells: tuple[Row, ...] = ()
    slides: tuple[dict[str, Any], ...] = ()


def fingerprint(request: Sequence[Any], paths: Sequence[Path]) -> str:
    """SHA-256 of a request and of the name, size and time of change of each file it reads.

    Args:
        request: what else the results depend on; anything JSON can hold.
        paths: the files.
    """
    files = []
    for path in paths:
        with suppress(OSError):  # one that cannot be read is skipped, and says so, later
            stat = path.stat()
            files.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps([list(request), files]).encode()).hexdigest()


class Journal:
    """What stands in a folder as long as its run is not finished.

    Args:
        folder: of the results.
        asked: fingerprint of the request; empty: nothing is ever gone on with.
    """

    def __init__(self, folder: Path, asked: str) -> None:
        self._folder, self._asked = folder, asked
        self._path = folder / JOURNAL
        self.slides: list[dict[str, Any]] = []

    def earlier(self, cells_header: Sequence[str], photos_header: Sequence[str]) -> Earlier:
        """The whole rows of an interrupted run of the same request.

        What was cut off half-way is left out; so is everything when the journal is of another
        request.
        """
        slides = self._ended_slides()
        if slides is None:
            return Earlier()
        photos = _whole_rows(self._folder / "photos.csv", photos_header)
        cells = _whole_rows(self._folder / "cells.csv", cells_header)
        kept, total = 0, 0
        for row in photos:
            if not row["cells"].isdecimal() or total + int(row["cells"]) > len(cells):
                break
            kept, total = kept + 1, total + int(row["cells"])
        return Earlier(tuple(photos[:kept]), tuple(cells[:total]), tuple(slides))

    def begin(self, earlier: Earlier) -> None:
        """Notes that the run has begun, or goes on.

        Raises:
            OSError: it cannot be written.
        """
        self.slides = list(earlier.slides)
        self._write()

    def end_slide(self, report: dict[str, Any]) -> None:
        """Notes that a slide is done.

        Raises:
            OSError: it cannot be written.
        """
        self.slides.append(report)
        self._write()

    def end(self) -> None:
        """The run is finished: the next one begins anew."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        content = {"fingerprint": self._asked, "slides": self.slides}
        write_whole(self._path, json.dumps(content).encode())

    def _ended_slides(self) -> list[dict[str, Any]] | None:
        """The slides that an interrupted run of the same request did; None: there is none."""
        try:
            journal = json.loads(self._path.read_bytes())
            same = bool(self._asked) and journal["fingerprint"] == self._asked
            return list(journal["slides"]) if same else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def table_text(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _whole_rows(path: Path, header: Sequence[str]) -> list[Row]:
    """Rows up to the last line break; none when the file is not one of ours."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return []
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole, newline="")))
    if not lines or lines[0] != list(header):
        return []
    rows = []
    for line in lines[1:]:
        if len(line) != len(header):
            break
        rows.append(dict(zip(header, line, strict=True)))
    return rows
