"""``heme-edge live``, from the request to the summary: every physical cell is counted once.

A thread for each camera reads and places its frames; this one searches, names and counts.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge.backends import open_backend
from heme_edge.backends.base import Backend
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.cli_support import EXIT_SOME_SKIPPED, note, show_error
from heme_edge.crops import CROP_PX
from heme_edge.detect import open_detector
from heme_edge.live.camera import CLOSE_WAIT_S, Camera, close_all, open_camera
from heme_edge.live.goal import StopAtGoal, goal_of
from heme_edge.live.pace import MOST
from heme_edge.live.pause import Pause
from heme_edge.live.reader import Reader
from heme_edge.live.recorder import Recorder, open_recorder
from heme_edge.live.request import Request
from heme_edge.live.show import Show
from heme_edge.live.shows import Shows
from heme_edge.live.slots import Slots
from heme_edge.live.summary import summary_of
from heme_edge.naming import Namer
from heme_edge.notices import notice
from heme_edge.offline import differential_lines, drift_warnings
from heme_edge.optics.drift import DriftMeter
from heme_edge.stop_rule import Goal
from heme_edge.stopping import Stopping
from heme_edge.tally import Tally
from heme_edge.temperature import Thermometer

if TYPE_CHECKING:
    from heme_edge.web.show import PageShow


def run(request: Request, stopping: Stopping) -> int:
    """Runs until the sources end, ``seconds`` have passed, or Ctrl-C; then prints the summary.

    Args:
        request: of the user.
        stopping: entered before the packages of this were imported.

    Returns:
        0, or 1 when a source was lost after frames had been analysed.

    Raises:
        HemeError: wrong use, no such camera, or all were lost before the first frame.
        KeyboardInterrupt: Ctrl-C before the first frame.
    """
    stopping.check()
    bundle = load_bundle(request.bundle)
    goal = goal_of(request, Tally.of(bundle))
    request = _with_session(request)
    recorder = open_recorder(request, bundle)
    page: PageShow | None = None
    try:
        if request.web is not None and recorder is not None:
            page = _open_page(request, goal, recorder)
        return _run(request, stopping, bundle, recorder, page, goal)
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


def _run(
    request: Request, stopping: Stopping, bundle: Bundle, recorder: Recorder | None,
    page: PageShow | None, goal: Goal,
) -> int:  # fmt: skip
    slots = Slots(len(request.cameras))
    # The recorder makes the session before the page shows it.
    last = page or StopAtGoal(goal, slots.close)
    further: list[Show] = [show for show in (recorder, last) if show is not None]
    thermometer = Thermometer(note)
    show = Shows(request, bundle.accepted_losses, thermometer, slots.close, further)
    backend = open_backend(bundle, request.backend, request.precision, say=note)
    _warm_up(backend, stopping)
    detector = open_detector(request.detector, bundle)
    namer = Namer(bundle, backend, detector, DriftMeter(bundle.info.optics))
    tally = Tally.of(bundle)
    cameras: list[Camera] = []
    readers: list[Reader] = []
    try:
        for number in range(len(request.cameras)):
            stopping.check()
            before = recorder.earlier_scale(number) if recorder else None
            cameras.append(open_camera(number, request, bundle, namer, tally, before))
        with stopping.calling(slots.close, request.seconds):
            show.begin(cameras)
            for c in cameras:
                parts = (c.number, c.source, c.frames, c.scale, c.optics, slots, c.earlier)
                readers.append(Reader(*parts))
                readers[-1].start()
            _analyse(cameras, slots, show, namer, page.pause if page else Pause())
    finally:
        stopped = slots.closed
        slots.close()
        close_all([camera.source for camera in cameras])
        for reader in readers:
            reader.join(CLOSE_WAIT_S)
        show.close()
        namer.backend.close()
    errors = [slots.errors[number] for number in sorted(slots.errors)]
    if errors and not any(camera.analysed for camera in cameras):
        raise errors[0]
    for camera in cameras:
        show.end(camera, camera.analyser.finish())
    tally = (recorder and recorder.finish(cameras)) or tally
    _finish(request, namer, tally, summary_of(namer, tally, cameras, thermometer.highest))
    for error in errors:
        show_error(error)
    if page is not None and not stopped:
        page.wait()
    return EXIT_SOME_SKIPPED if errors else 0


def _warm_up(backend: Backend, stopping: Stopping) -> None:
    """Shows the backend every number of crops that a frame may have.

    OpenVINO compiles for a size when it first meets it: for 0.7 s no frame would be looked at.
    """
    for count in range(1, MOST + 1):
        stopping.check()
        backend.infer(np.zeros((count, CROP_PX, CROP_PX, 3), np.uint8))


def _analyse(
    cameras: Sequence[Camera], slots: Slots, show: Show, namer: Namer, pause: Pause
) -> None:
    drift_said = False
    while (taken := slots.take()) is not None:
        camera = cameras[taken[0]]
        placed = pause.passed(camera, taken[1], slots)
        analysed = camera.analyser.analyse(placed)
        age_ms = 1000 * (time.monotonic() - placed.frame.captured_s)
        camera.analysed += 1
        camera.ages_ms.append(age_ms)
        camera.size = (placed.window.width_px, placed.window.height_px)
        show.frame(camera, analysed, age_ms)
        drift_said = drift_said or _say_drift(namer)


def _say_drift(namer: Namer) -> bool:
    """As soon as the meter has seen enough; whether there was something to say."""
    warnings = drift_warnings(namer)
    for warning in warnings:
        note(f"Warning: {warning}")
    return bool(warnings)


def _finish(request: Request, namer: Namer, tally: Tally, summary: dict[str, Any]) -> None:
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
