"""One thread for each source: reads, corrects and places every frame it can."""

from __future__ import annotations

import threading
from dataclasses import replace

from heme_edge.errors import HemeError, SourceError
from heme_edge.frames.base import Frame, FrameSource
from heme_edge.live.placing import NO_MAP, EarlierMap, Placer
from heme_edge.live.slots import Placed, Slots
from heme_edge.optics.first import FirstFrames
from heme_edge.optics.session import SessionScale
from heme_edge.optics.use import Optics


class Reader:
    """Reads a source to its end, or until it is closed.

    Registration is cheap and sees every frame that is read; the search for cells, which is not,
    takes the newest from the slot.

    Args:
        number: of the source.
        source: the open source, which it closes.
        frames: its frames.
        scale: of the session.
        optics: how frames are corrected, or None.
        slots: where frames go.
        earlier: the map of a session that is gone on with.
    """

    def __init__(
        self, number: int, source: FrameSource, frames: FirstFrames, scale: SessionScale,
        optics: Optics | None, slots: Slots, earlier: EarlierMap = NO_MAP,
    ) -> None:  # fmt: skip
        self._number, self._source, self._frames = number, source, frames
        self._optics, self._slots = optics, slots
        self._placer = Placer(scale.at, earlier)
        self._thread = threading.Thread(target=self._run, name=f"read {source.name}", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits for its end, once source and slots are closed; for a driver that hangs, so long.

        A thread that is within a library when Python ends aborts the process.
        """
        self._thread.join(seconds)

    def _run(self) -> None:
        error: HemeError | None = None
        try:
            while (frame := self._frames.read()) is not None:
                if not self._slots.put(
                    self._number, self._placed(frame), wait=not self._source.live
                ):
                    break
        except HemeError as lost:
            error = lost
        except Exception as bug:  # said by the main thread, which would wait for ever
            error = SourceError(f"Reading {self._source.name} failed ({bug!r}).")
        self._slots.end(self._number, error)

    def _placed(self, frame: Frame) -> Placed:
        if self._optics is not None:
            frame = replace(frame, image=self._optics.correct(frame.image))
        return self._placer.place(frame)
