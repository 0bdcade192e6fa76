"""Keeps a run of live in a session: what was looked at, counted and found to be one cell."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from heme_edge.bundle import Bundle
from heme_edge.cli_support import note
from heme_edge.crops import Image
from heme_edge.frames import is_simulated
from heme_edge.frames.stream import without_password
from heme_edge.ledger import Merged
from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.earlier import take_up
from heme_edge.live.request import Request
from heme_edge.optics.session import SessionScale
from heme_edge.session import Batch, CellRow, FrameRow, KeyframeRow, Session, SessionError, Source
from heme_edge.session.beginning import check_sources, open_again, settings_of
from heme_edge.session.schema import refuse_existing
from heme_edge.session.writer import Writer
from heme_edge.stage import Keyframe
from heme_edge.tally import Tally


class Recorder:
    """Hands everything to the thread that writes; a `Show`, used by one thread.

    Args:
        request: what the user asked for.
        bundle: that names the cells.
        folder: of the session.

    Attributes:
        session: None until ``begin``, unless it is gone on with.

    Raises:
        SessionError: the folder holds a session already, or one that does not fit.
    """

    def __init__(self, request: Request, bundle: Bundle, folder: Path) -> None:
        self._request, self._bundle, self._folder = request, bundle, folder
        self.session: Session | None = None
        self._writer: Writer | None = None
        self._maps: dict[int, tuple[Keyframe, ...]] = {}
        self._run = 0
        if request.resume:
            self.session = open_again(folder, "live", bundle, request.optics)
        else:
            refuse_existing(folder)
        self._ids: Iterator[int] = count(self.session.newest(0)[0] + 1 if self.session else 0)

    def earlier_scale(self, number: int) -> SessionScale | None:
        """The scale that a source has in a session that is gone on with."""
        sources = self.session.settings.sources if self.session else ()
        if number >= len(sources):
            return None
        return SessionScale(sources[number].um_per_px, sources[number].um_per_px_source)

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Makes the session, or makes the cameras know what it holds.

        Raises:
            SessionError: it cannot be made, or the cameras do not fit it.
        """
        sources = [_source(camera) for camera in cameras]
        for camera in cameras:
            camera.analyser.keep_crops, camera.analyser.ledger.ids = True, self._ids
        if self.session is None:
            backend = cameras[0].analyser.namer.backend
            settings = settings_of("live", self._bundle, backend, self._request.optics, sources)
            self.session = Session.create(self._folder, settings)
        else:
            self._go_on(self.session, cameras, sources)
        self._writer = Writer(self.session, note)

    def _go_on(
        self, session: Session, cameras: Sequence[Camera], sources: Sequence[Source]
    ) -> None:
        check_sources(session, sources)
        self._run = session.runs
        for camera in cameras:
            take_up(camera, session)
        backend = cameras[0].analyser.namer.backend.name
        session.resume({"sources": [source.name for source in sources], "backend": backend})

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """Hands over what became of a frame."""
        number, placed = camera.number, analysed.placed
        joins = [(number, j.patch, j.into, j.dx_um, j.dy_um) for j in placed.joins]
        frame, gone = self._frame_row(camera, analysed), duplicates(analysed.merged)
        batch = Batch([frame], (), gone, joins, self._map(camera, placed.keyframes))
        self._put(camera, analysed.counted, batch)

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """Hands over the cells that are counted at the end."""
        self._put(camera, counted, Batch())

    def finish(self, cameras: Sequence[Camera]) -> Tally | None:
        """Writes what is left, and the differential.

        Returns:
            the differential of the session, corrections applied; None where it is not all there.
        """
        if self.session is None or not self._written():
            return None
        left_over: Counter[str] = sum((c.analyser.left_over for c in cameras), Counter())
        try:
            self.session.end(dict(left_over))
            return self.session.tally()
        except SessionError as error:
            note(error.message)
            return None

    def close(self) -> None:
        """Closes the session; also after a run that failed, with what it had counted."""
        self._written()
        if self.session is not None:
            self.session.close()

    def _written(self) -> bool:
        """Ends the thread that writes; whether all that it had is in the session."""
        writer, self._writer = self._writer, None
        return writer is not None and writer.close()

    def _put(self, camera: Camera, counted: Sequence[CountedCell], batch: Batch) -> None:
        if self._writer is None:
            return
        now, crops = time.time(), _crops(counted)
        cells = [_cell_row(camera, cell, now, self._run) for cell in counted]
        self._writer.put(replace(batch, cells=cells), crops)
        for cell in counted:
            cell.entry.drop_crops()

    def _frame_row(self, camera: Camera, analysed: Analysed) -> FrameRow:
        frame, window = analysed.placed.frame, analysed.placed.window
        left, top, right, bottom = window.area()
        when = time.time() - (time.monotonic() - frame.captured_s)
        return FrameRow(
            camera.number, frame.index, when, window.patch, left, top, right - left, bottom - top,
            analysed.not_used, len(analysed.cells), frame.name, self._run,
        )  # fmt: skip

    def _map(
        self, camera: Camera, keyframes: tuple[Keyframe, ...]
    ) -> dict[int, Sequence[KeyframeRow]]:
        """The map of a camera's stage, where it has changed."""
        number = camera.number
        if self._maps.get(number, ()) is keyframes or not keyframes:
            return {}
        self._maps[number] = keyframes
        return {
            number: [KeyframeRow(number, k.patch, k.x, k.y, k.sharp, k.levels) for k in keyframes]
        }


def duplicates(merged: Sequence[Merged]) -> list[tuple[int, int]]:
    """Numbers of cells with a row that are one with another entry, and of that.

    A cell that is part of an entry without a row goes with it wherever it goes.
    """
    return [
        (number, merge.into.id)
        for merge in merged
        for number in ([merge.gone.id] if merge.taken_back else merge.gone.stands_for)
    ]


def open_recorder(request: Request, bundle: Bundle) -> Recorder | None:
    """The recorder of ``--session`` or ``--resume``; None without.

    Raises:
        SessionError: both were given, the folder holds a session, or one that does not fit.
    """
    if request.session and request.resume:
        raise SessionError("--session begins a session, --resume goes on with one.", "one of them")
    folder = request.session or request.resume
    return Recorder(request, bundle, folder) if folder else None


def _source(camera: Camera) -> Source:
    name = without_password(camera.source.name)
    scale = camera.scale
    return Source(name, scale.um_per_px, scale.source, is_simulated(camera.source))


def _crops(counted: Sequence[CountedCell]) -> dict[int, Image]:
    crops = {cell.entry.id: cell.entry.best_view.crop for cell in counted}
    return {number: crop for number, crop in crops.items() if crop is not None}


def _cell_row(camera: Camera, cell: CountedCell, now: float, run: int) -> CellRow:
    entry, view, name = cell.entry, cell.entry.best_view, cell.name
    return CellRow(
        id=entry.id, source_id=camera.number, frame=view.frame, x_px=view.x_px, y_px=view.y_px,
        radius_um=entry.radius_um, patch=entry.patch, slide_x_um=entry.x_um,
        slide_y_um=entry.y_um, code=name.code, probability=name.probability,
        probabilities=entry.probabilities, disagreement=name.disagreement, reason=cell.reason,
        kind=entry.kind, views=len(entry.views), time=now, run=run,
    )  # fmt: skip
