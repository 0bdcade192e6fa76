"""``heme-edge live``: capture, detect, classify, draw, frame after frame.

Counts are per frame: a cell in view for thirty frames is named thirty times.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.cli_support import EXIT_SOME_SKIPPED, note, show_error
from heme_edge.detect import open_detector
from heme_edge.draw import annotate
from heme_edge.errors import HemeError, SourceError
from heme_edge.frames import is_simulated, open_source
from heme_edge.frames.base import Frame, FrameSource
from heme_edge.naming import NamedField, Namer
from heme_edge.notices import notice
from heme_edge.offline import about_model, differential_lines, drift_warnings
from heme_edge.optics.drift import DriftMeter
from heme_edge.optics.first import FirstFrames
from heme_edge.optics.session import SessionScale, known_scale, measured_scale
from heme_edge.optics.use import Optics, open_optics
from heme_edge.outputs import write_whole
from heme_edge.results import NamedCell
from heme_edge.tally import Tally

PICTURE_EVERY_S = 1.0
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
DEFAULT_PICTURE = Path("heme-live.jpg")
AGES_KEPT = 100_000


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    ``um_per_px`` None means from ``optics``, what the source knows, or measured on red cells.
    """

    camera: str
    um_per_px: float | None = None
    seconds: float | None = None
    headless: bool = False
    picture: Path | None = None
    sim_seed: int = 0
    sim_truth: Path | None = None
    sim_crops: Path | None = None
    bundle: Path | None = None
    precision: str = "auto"
    backend: str = "auto"
    optics: Path | None = None
    sim_tour: int | None = None


@dataclass
class _Session:
    """What a run knows while it goes on."""

    source: FrameSource
    frames: FirstFrames
    scale: SessionScale
    optics: Optics | None
    tally: Tally
    losses: tuple[str, ...]
    started_s: float = field(default_factory=time.monotonic)
    analysed: int = 0
    cells: int = 0
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=AGES_KEPT))
    size: tuple[int, int] = (0, 0)
    drift_said: bool = False


def run(request: Request) -> int:
    """Runs until the source ends, ``seconds`` have passed, or Ctrl-C; then prints the summary.

    Returns:
        0, or 1 when the source was lost after frames had been analysed.

    Raises:
        HemeError: wrong use, no such camera, or the source was lost before the first frame.
    """
    bundle = load_bundle(request.bundle)
    backend = open_backend(bundle, request.backend, request.precision, say=note)
    namer = Namer(bundle, backend, open_detector(), DriftMeter(bundle.info.optics))
    optics = open_optics(request.optics, bundle, note)
    source = open_source(
        request.camera,
        sim_seed=request.sim_seed,
        sim_truth=request.sim_truth,
        sim_crops=request.sim_crops,
        sim_tour=request.sim_tour,
    )
    session, lost = None, None
    try:
        frames = FirstFrames(source)
        scale = known_scale(request.um_per_px, optics.profile if optics else None, source.um_per_px)
        scale = scale or measured_scale(frames.first())
        session = _Session(source, frames, scale, optics, Tally.of(bundle), bundle.accepted_losses)
        with _stopping(source, request.seconds):
            _analyse(request, namer, session)
    except SourceError as error:
        if session is None or not session.analysed:
            raise
        lost = error
    finally:
        source.close()
        namer.backend.close()
    _finish(request, namer, session)
    if lost is not None:
        show_error(lost)
        return EXIT_SOME_SKIPPED
    return 0


@contextmanager
def _stopping(source: FrameSource, seconds: float | None) -> Iterator[None]:
    """Closes the source on Ctrl-C, on SIGTERM and when time is up, which ends the loop."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # A thread, since close() may wait for a lock that the interrupted read() holds.
        threading.Thread(target=source.close, daemon=True).start()

    old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    timer = threading.Timer(seconds or 0, source.close)
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in old.items():
            signal.signal(number, handler)


def _analyse(request: Request, namer: Namer, session: _Session) -> None:
    show = _JsonLines() if request.headless else _Picture(request.picture or DEFAULT_PICTURE)
    show.begin(session)
    while (frame := session.frames.read()) is not None:
        if session.optics is not None:
            frame = replace(frame, image=session.optics.correct(frame.image))
        named = namer.name_field(frame.image, session.scale.at(frame.image.shape[1]))
        cells = named.cells
        age_ms = 1000 * (time.monotonic() - frame.captured_s)
        session.analysed += 1
        session.cells += len(cells)
        session.ages_ms.append(age_ms)
        session.size = (frame.image.shape[1], frame.image.shape[0])
        session.tally.add(cells)
        show.frame(session, frame, named, age_ms)
        _say_drift(namer, session)
    if isinstance(show, _Picture):
        show.last(session)


def _say_drift(namer: Namer, session: _Session) -> None:
    """Once, as soon as the meter has seen enough."""
    if not session.drift_said:
        for warning in drift_warnings(namer):
            session.drift_said = True
            note(f"Warning: {warning}")


class _JsonLines:
    """One JSON line per analysed frame on stdout."""

    def begin(self, session: _Session) -> None:
        print(f"Scale: {session.scale.words}.", file=sys.stderr)
        print(notice(session.losses), file=sys.stderr)

    def frame(self, session: _Session, frame: Frame, named: NamedField, age_ms: float) -> None:
        line = {
            "frame": frame.index,
            "time_s": round(frame.captured_s - session.started_s, 4),
            "age_ms": round(age_ms, 1),
            "cells": [
                {
                    "x_px": round(c.cell.x_px, 1),
                    "y_px": round(c.cell.y_px, 1),
                    "code": c.name.code,
                    "probability": round(c.name.probability, 4),
                }
                for c in named.cells
            ],
            "field": named.score.verdict,
        }
        print(json.dumps(line), flush=True)


class _Picture:
    """A status line, and the annotated frame written to a file about once a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_s = 0.0
        self._shown: tuple[Frame, Sequence[NamedCell]] | None = None
        self._failed = False

    def begin(self, session: _Session) -> None:
        if self._path.suffix.lower() not in PICTURE_SUFFIXES:
            raise HemeError(f"'{self._path}' is not a .jpg or .png file.", "--picture live.jpg")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        print(f"{session.source.name}. {notice(session.losses)}")
        print(f"Scale: {session.scale.words}.")
        print(f"The annotated frame is in {self._path}. Ctrl-C ends.", flush=True)

    def frame(self, session: _Session, frame: Frame, named: NamedField, age_ms: float) -> None:
        self._shown = (frame, named.cells)
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + PICTURE_EVERY_S
        self._write(session)
        said = "" if named.score.readable else f", field {named.score.verdict}"
        print(
            f"frame {frame.index}: {len(named.cells)} cells, {age_ms:.0f} ms old{said}", flush=True
        )

    def last(self, session: _Session) -> None:
        """Writes the last frame, however short ago the one before was written."""
        if self._shown is not None:
            self._write(session)
            print(f"The last annotated frame is in {self._path}")

    def _write(self, session: _Session) -> None:
        import cv2

        if self._shown is None:
            return
        frame, cells = self._shown
        simulated = "SIMULATED SMEAR." if is_simulated(session.source) else ""
        notes = f"{simulated} {session.scale.words}.".replace("µ", "u")
        annotated = annotate(frame.image, cells, notes, session.losses)
        picture = cv2.cvtColor(annotated, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(self._path.suffix.lower(), picture)[1].tobytes()
        try:
            write_whole(self._path, data)
        except OSError as error:  # a full disk must not end the counting; said once
            if not self._failed:
                print(f"The picture {self._path} cannot be written: {error}.", file=sys.stderr)
            self._failed = True


def _finish(request: Request, namer: Namer, session: _Session) -> None:
    summary = _summary(namer, session)
    if request.headless:
        print(json.dumps({"summary": summary}), flush=True)
        return
    for line in differential_lines(session.tally, repeated=True):
        print(line)
    print(
        f"frames {summary['frames_analysed']} analysed of {summary['frames_captured']} captured, "
        f"cells named {summary['cells_named']}, "
        f"age {summary['age_ms_p50']} ms (95 %: {summary['age_ms_p95']} ms)"
    )
    print(notice(session.losses), flush=True)


def _summary(namer: Namer, session: _Session) -> dict[str, Any]:
    p50, p95 = np.percentile(session.ages_ms, (50, 95)) if session.ages_ms else (0.0, 0.0)
    return {
        "frames_captured": session.source.captured,
        "frames_analysed": session.analysed,
        "cells_named": session.cells,
        "age_ms_p50": round(float(p50), 1),
        "age_ms_p95": round(float(p95), 1),
        **session.scale.record(),
        "optics": session.optics.record() if session.optics else None,
        "drift": namer.drift.report() if namer.drift else None,
        "width_px": session.size[0],
        "height_px": session.size[1],
        "simulated": is_simulated(session.source),
        "counts": "per frame",
        "notice": RESEARCH_USE_ONLY,
        **about_model(namer.bundle, namer.backend.name),
    }
