"""A run of ``classify`` in a session: each photo, or field of a slide, is a frame of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from heme_edge.outputs import PhotoResult, corner_text
from heme_edge.resume import Earlier
from heme_edge.session.crop import encode_crop
from heme_edge.session.rows import Batch, CellRow, FrameRow, Settings, Source
from heme_edge.session.schema import FILE, SessionError, refuse_existing
from heme_edge.session.store import Session

NO_CORNER = (0.0, 0.0)
Field = tuple[str, tuple[str, str]]
"""A photo, and where on it: of a slide each field has a place."""


def photo_source(um_per_px: float, um_per_px_source: str) -> Source:
    """The one source of a run over photos."""
    return Source("photos", um_per_px, um_per_px_source)


def begin_or_go_on(folder: Path, settings: Settings, earlier: Earlier) -> Session:
    """A new session, or that of the same request, which was interrupted; opened for writing.

    Args:
        folder: of the session.
        settings: of the request.
        earlier: what the tables hold of the interrupted run.

    Raises:
        SessionError: the folder holds another session, or lacks the one of ``earlier``.
    """
    if not (folder / FILE).exists():
        if earlier.photos:
            raise SessionError(
                f"'{folder}' lacks the session of the run that was interrupted.",
                "Another --out, which begins anew",
            )
        return Session.create(folder, settings)
    session = Session.open(folder, write=True)
    if session.settings.request != settings.request or session.ended:
        session.close()
        refuse_existing(folder)
    return session


class PhotoRecorder:
    """Writes results to a session, whole photos at a time; belongs to one thread.

    What the session has already is not written again: an interrupted run may have written a photo
    to it, and not to the tables.

    Args:
        session: open for writing.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        frames = session.frames()
        self._done: set[Field] = {(row.name, corner_text((row.x_um, row.y_um))) for row in frames}
        self._patches = {row.name: row.patch for row in frames}
        self._frames = count(max((row.frame for row in frames), default=-1) + 1)
        self._ids = count(session.newest(0)[0] + 1)

    def add(self, results: Sequence[PhotoResult]) -> None:
        """Writes photos in one transaction.

        Raises:
            SessionError: they cannot be written; then none of them is there.
        """
        frames: list[FrameRow] = []
        cells: list[CellRow] = []
        for result in results:
            field = result.photo, corner_text(result.corner_um or NO_CORNER)
            if field not in self._done:
                frames.append(self._frame_row(result))
                cells += self._cell_rows(result, frames[-1])
                self._done.add(field)
        self._session.add(Batch(frames, cells))

    def end(self) -> None:
        """Notes that the run came to its end, with the differential.

        Raises:
            SessionError: it cannot be written.
        """
        self._session.end({})

    def _frame_row(self, result: PhotoResult) -> FrameRow:
        frame = next(self._frames)
        patch = self._patches.setdefault(result.photo, frame)
        left, top = result.corner_um or NO_CORNER
        size = (result.kept.width_um, result.kept.height_um) if result.kept else (0.0, 0.0)
        return FrameRow(
            0, frame, time.time(), patch, left, top, *size, result.problem, len(result.cells),
            result.photo,
        )  # fmt: skip

    def _cell_rows(self, result: PhotoResult, frame: FrameRow) -> list[CellRow]:
        if result.kept is None:
            return []
        scale = result.um_per_px
        rows = zip(result.cells, result.kept.probabilities, result.kept.crops, strict=True)
        found = []
        for named, said, crop in rows:
            cell, name = named.cell, named.name
            radius_um = None if math.isnan(cell.radius_px) else cell.radius_px * scale
            found.append(
                CellRow(
                    next(self._ids), 0, frame.frame, cell.x_px, cell.y_px, radius_um, frame.patch,
                    cell.x_px * scale, cell.y_px * scale, name.code, name.probability, said,
                    name.disagreement, named.reason, cell.kind, 1, frame.time, encode_crop(crop),
                )
            )  # fmt: skip
        return found
