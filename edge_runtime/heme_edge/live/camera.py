"""One camera of a session: its source, scale and ledger, and what it has done so far."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from heme_edge.bundle import Bundle
from heme_edge.cli_support import note
from heme_edge.frames import is_simulated, open_source
from heme_edge.frames.base import FrameSource
from heme_edge.frames.live import LiveSource
from heme_edge.frames.reopen import Reopened
from heme_edge.frames.stream import without_password
from heme_edge.ledger import MOVING, SEPARATE, CellLedger
from heme_edge.live.analyser import Analyser
from heme_edge.live.pace import Pace
from heme_edge.live.placing import NO_MAP, EarlierMap
from heme_edge.live.recording import Recording
from heme_edge.live.request import Request, numbered
from heme_edge.naming import Namer
from heme_edge.optics.first import FirstFrames
from heme_edge.optics.session import SessionScale, known_scale, measured_scale
from heme_edge.optics.use import Optics, open_optics
from heme_edge.stopping import OPENING
from heme_edge.tally import Tally

AGES_KEPT = 100_000
STALL_S = 4.0
"""A live source without a new picture for so long is lost; so is one that sends the same."""
CLOSE_WAIT_S = 1.0
T = TypeVar("T")


@dataclass
class Camera:
    """One source in a session.

    Attributes:
        number: of the source, from 0.
        analysed: frames that were taken from it.
        ages_ms: from capture to publishing, of the newest frames.
        size: width and height of its frames, px.
        recording: of it, or None.
        earlier: the map of the stage in a session that is gone on with.
    """

    number: int
    source: FrameSource
    frames: FirstFrames
    scale: SessionScale
    optics: Optics | None
    analyser: Analyser
    analysed: int = 0
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=AGES_KEPT))
    size: tuple[int, int] = (0, 0)
    recording: Recording | None = None
    earlier: EarlierMap = NO_MAP

    def record(self) -> dict[str, Any]:
        """What it did, for the summary."""
        p50, p95 = np.percentile(self.ages_ms, (50, 95)) if self.ages_ms else (0.0, 0.0)
        return {
            "frames_captured": self.source.captured,
            "frames_analysed": self.analysed,
            "frames_used": self.analyser.used,
            "frames_refused": dict(self.analyser.not_used),
            "cells_counted": self.analyser.cells_counted,
            "duplicates_refused": self.analyser.ledger.duplicates_refused,
            "crops_named": self.analyser.named,
            "age_ms_p50": round(float(p50), 1),
            "age_ms_p95": round(float(p95), 1),
            **self.scale.record(),
            "optics": self.optics.record() if self.optics else None,
            "width_px": self.size[0],
            "height_px": self.size[1],
            "simulated": is_simulated(self.source),
            **(self.recording.record() if self.recording else {}),
        }


def open_camera(
    number: int, request: Request, bundle: Bundle, namer: Namer, tally: Tally,
    before: SessionScale | None = None,
) -> Camera:  # fmt: skip
    """Opens a source and finds its scale.

    Args:
        number: of the source.
        request: what the user asked for.
        bundle, namer, tally: of the session.
        before: the scale it had in a session that is gone on with; not measured anew.

    Raises:
        HemeError: there is no such source, or its scale cannot be told.
    """
    optics = open_optics(request.optics, bundle, note)
    note(f"Opening {without_password(request.cameras[number])}.")
    source = aside(lambda: _open(number, request))
    try:
        frames = FirstFrames(source)
        scale = known_scale(request.um_per_px, optics.profile if optics else None, source.um_per_px)
        scale = scale or before or measured_scale(aside(frames.first))
    except BaseException:
        close_all([source])
        raise
    rules = SEPARATE if shows_separate_places(source) else MOVING
    pace = Pace() if source.live else None
    analyser = Analyser(namer, CellLedger(rules), tally, pace)
    return Camera(number, source, frames, scale, optics, analyser)


def shows_separate_places(source: FrameSource) -> bool:
    """Whether a source shows each place once: a photo folder, a whole slide."""
    from heme_edge.frames.folder import PhotoFolder
    from heme_edge.frames.whole_slide import WholeSlide

    return isinstance(source, PhotoFolder | WholeSlide)


def _open(number: int, request: Request) -> FrameSource:
    def opens() -> FrameSource:
        return open_source(
            request.cameras[number],
            sim_seed=request.sim_seed + number,
            sim_truth=request.sim_truth and numbered(request.sim_truth, number, request),
            sim_crops=request.sim_crops,
            sim_tour=request.sim_tour,
            real_time=request.real_time,
            stall_s=STALL_S,
        )

    source = opens()
    if not isinstance(source, LiveSource):
        return source
    return Reopened(source, opens, request.patience_s, note)


def aside(function: Callable[[], T]) -> T:
    """Calls a function in a thread, so that Ctrl-C need not wait for a driver or a network.

    Raises:
        HemeError: what the function raises.
    """
    results: list[T] = []
    errors: list[Exception] = []
    done = threading.Event()

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:  # raised below, by the thread that waits
            errors.append(error)
        done.set()

    threading.Thread(target=call, name=OPENING, daemon=True).start()
    done.wait()
    for error in errors:
        raise error
    return results[0]


def close_all(sources: Sequence[FrameSource]) -> None:
    """Closes sources side by side; one that hangs in its driver is left alone after a second."""
    threads = [threading.Thread(target=source.close, daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOSE_WAIT_S)
