"""``heme-edge live``, from the request to the summary: every physical cell is counted once.

A thread for each camera reads and places its frames; this one searches, names and counts.
"""

from __future__ import annotations

import json
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.backends import open_backend
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.cli_support import EXIT_SOME_SKIPPED, note, show_error
from heme_edge.detect import open_detector
from heme_edge.live.camera import Camera, close_all, open_camera
from heme_edge.live.goal import StopAtGoal, goal_of
from heme_edge.live.pause import Pause
from heme_edge.live.reader import Reader
from heme_edge.live.recorder import Recorder, open_recorder
from heme_edge.live.request import Request
from heme_edge.live.show import JsonLines, Pictures, Show
from heme_edge.live.slots import Slots
from heme_edge.naming import Namer
from heme_edge.notices import notice
from heme_edge.offline import about_model, differential_lines, drift_warnings
from heme_edge.optics.drift import DriftMeter
from heme_edge.stop_rule import Goal
from heme_edge.tally import Tally

if TYPE_CHECKING:
    from heme_edge.web.show import PageShow

SUMS = ("frames_captured", "frames_analysed", "frames_used", "frames_refused", "cells_counted",
        "duplicates_refused", "crops_named")  # fmt: skip


def run(request: Request) -> int:
    """Runs until the sources end, ``seconds`` have passed, or Ctrl-C; then prints the summary.

    Returns:
        0, or 1 when a source was lost after frames had been analysed.

    Raises:
        HemeError: wrong use, no such camera, or all were lost before the first frame.
    """
    bundle = load_bundle(request.bundle)
    goal = goal_of(request, Tally.of(bundle))
    request = _with_session(request)
    recorder = open_recorder(request, bundle)
    page: PageShow | None = None
    try:
        if request.web is not None and recorder is not None:
            page = _open_page(request, goal, recorder)
        return _run(request, bundle, recorder, page, goal)
    finally:
        if page is not None:
            page.close()
        if recorder is not None:
            recorder.close()


def _with_session(request: Request) -> Request:
    """The page shows a session; without ``--session`` it is kept in a temporary folder."""
    if request.web is None or request.session or request.resume:
        return request
    folder = Path(tempfile.mkdtemp(prefix="heme-edge-session-"))
    note(f"The session is in the temporary folder {folder}; --session DIR keeps it elsewhere.")
    return replace(request, session=folder)


def _open_page(request: Request, goal: Goal, recorder: Recorder) -> PageShow:
    from heme_edge.web.show import PageShow

    return PageShow(request, goal, recorder)


def _shows(
    request: Request, losses: Sequence[str], recorder: Recorder | None, page: PageShow | None
) -> list[Show]:
    """Where both are, the recorder makes the session before the page shows it."""
    shows: list[Show] = []
    if request.headless:
        shows.append(JsonLines(losses))
    elif page is None or request.picture is not None:
        shows.append(Pictures(request, losses))
    return [*shows, *(show for show in (recorder, page) if show is not None)]


def _run(
    request: Request, bundle: Bundle, recorder: Recorder | None, page: PageShow | None, goal: Goal
) -> int:
    shows = _shows(request, bundle.accepted_losses, recorder, page)
    backend = open_backend(bundle, request.backend, request.precision, say=note)
    namer = Namer(bundle, backend, open_detector(bundle=bundle), DriftMeter(bundle.info.optics))
    tally = Tally.of(bundle)
    cameras: list[Camera] = []
    slots = Slots(len(request.cameras))
    if page is None:
        shows.append(StopAtGoal(goal, slots.close))
    pause = page.pause if page else Pause()
    try:
        for number in range(len(request.cameras)):
            before = recorder.earlier_scale(number) if recorder else None
            cameras.append(open_camera(number, request, bundle, namer, tally, before))
        with _stopping(slots.close, request.seconds):
            _analyse(cameras, slots, shows, namer, pause)
    finally:
        close_all([camera.source for camera in cameras])
        namer.backend.close()
    errors = [slots.errors[number] for number in sorted(slots.errors)]
    if errors and not any(camera.analysed for camera in cameras):
        raise errors[0]
    for camera in cameras:
        counted = camera.analyser.finish()
        for show in shows:
            show.end(camera, counted)
    tally = (recorder and recorder.finish(cameras)) or tally
    _finish(request, namer, tally, cameras)
    for error in errors:
        show_error(error)
    if page is not None and not slots.closed:
        page.wait()
    return EXIT_SOME_SKIPPED if errors else 0


@contextmanager
def _stopping(stop: Callable[[], None], seconds: float | None) -> Iterator[None]:
    """Stops on Ctrl-C, on SIGTERM and when time is up."""

    def pressed(_signal: int, _frame: FrameType | None) -> None:
        # A thread, since the stop may wait for a lock that the interrupted thread holds.
        threading.Thread(target=stop, daemon=True).start()

    old = {s: signal.signal(s, pressed) for s in (signal.SIGINT, signal.SIGTERM)}
    timer = threading.Timer(seconds or 0, stop)
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in old.items():
            signal.signal(number, handler)


def _analyse(
    cameras: Sequence[Camera], slots: Slots, shows: Sequence[Show], namer: Namer, pause: Pause
) -> None:
    for show in shows:
        show.begin(cameras)
    for c in cameras:
        Reader(c.number, c.source, c.frames, c.scale, c.optics, slots, c.earlier).start()
    drift_said = False
    while (taken := slots.take()) is not None:
        camera = cameras[taken[0]]
        placed = pause.passed(camera, taken[1], slots)
        analysed = camera.analyser.analyse(placed)
        age_ms = 1000 * (time.monotonic() - placed.frame.captured_s)
        camera.analysed += 1
        camera.ages_ms.append(age_ms)
        camera.size = (placed.window.width_px, placed.window.height_px)
        for show in shows:
            show.frame(camera, analysed, age_ms)
        drift_said = drift_said or _say_drift(namer)


def _say_drift(namer: Namer) -> bool:
    """As soon as the meter has seen enough; whether there was something to say."""
    warnings = drift_warnings(namer)
    for warning in warnings:
        note(f"Warning: {warning}")
    return bool(warnings)


def _finish(request: Request, namer: Namer, tally: Tally, cameras: Sequence[Camera]) -> None:
    summary = _summary(namer, tally, cameras)
    if request.headless:
        print(json.dumps({"summary": summary}), flush=True)
        return
    for line in differential_lines(tally):
        print(line)
    print(
        f"frames {summary['frames_used']} used of {summary['frames_captured']} captured, "
        f"cells counted {summary['cells_counted']}, "
        f"age {summary['age_ms_p50']} ms (95 %: {summary['age_ms_p95']} ms)"
    )
    print(notice(namer.bundle.accepted_losses), flush=True)


def _summary(namer: Namer, tally: Tally, cameras: Sequence[Camera]) -> dict[str, Any]:
    records = [camera.record() for camera in cameras]
    return {
        **(records[0] if len(cameras) == 1 else _together(cameras, records)),
        "differential": tally.record(),
        "drift": namer.drift.report() if namer.drift else None,
        "counts": "each physical cell once",
        "notice": RESEARCH_USE_ONLY,
        **about_model(namer.bundle, namer.backend.name),
    }


def _together(cameras: Sequence[Camera], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over several sources, and each source's own record."""
    sums: dict[str, Any] = {}
    for key in SUMS:
        values = [record[key] for record in records]
        sums[key] = (
            sum(map(Counter, values), Counter()) if isinstance(values[0], dict) else sum(values)
        )
    ages = np.concatenate([camera.ages_ms for camera in cameras])
    p50, p95 = np.percentile(ages, (50, 95)) if len(ages) else (0.0, 0.0)
    sums |= {"age_ms_p50": round(float(p50), 1), "age_ms_p95": round(float(p95), 1)}
    sources = [
        {"source_id": camera.number, "name": camera.source.name, **record}
        for camera, record in zip(cameras, records, strict=True)
    ]
    return sums | {"sources": sources}
