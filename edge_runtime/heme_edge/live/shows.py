"""Everything that a session shows and records, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.cli_support import note
from heme_edge.frames import is_simulated
from heme_edge.live.analyser import Analysed, CountedCell
from heme_edge.live.camera import Camera
from heme_edge.live.recording import FINISH_S, Recording, overlay_file
from heme_edge.live.request import Request, recording_file
from heme_edge.live.show import JsonLines, Pictures, Show
from heme_edge.live.window import Windows
from heme_edge.temperature import Thermometer


class Shows:
    """What a request asks for; a `Show` made of several, and to be closed.

    Args:
        request: of the user.
        losses: the bundle's accepted losses.
        thermometer: of the board.
        stop: ends the session.
        further: what comes after: each sees a frame when those before have seen it.

    Raises:
        HemeError: a file has a name that cannot be, or is there already; no window can be opened.
    """

    def __init__(
        self, request: Request, losses: Sequence[str], thermometer: Thermometer,
        stop: Callable[[], None], further: Sequence[Show] = (),
    ) -> None:  # fmt: skip
        self._shows: list[Show] = []
        if request.headless:
            self._shows.append(JsonLines(losses, thermometer))
        elif request.web is None or request.picture is not None:
            self._shows.append(Pictures(request, losses, thermometer))
        self._thermometer = None if self._shows else thermometer
        self._closed_at_the_end: list[Videos | Windows] = []
        if request.record:
            self._closed_at_the_end.append(Videos(request))
        if request.window:
            self._closed_at_the_end.append(Windows(losses, stop))
        self._shows += [*self._closed_at_the_end, *further]

    def begin(self, cameras: Sequence[Camera]) -> None:
        """See `Show`."""
        for show in self._shows:
            show.begin(cameras)

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """See `Show`."""
        if self._thermometer is not None:  # where only the page tells; a hot board is said
            self._thermometer.look()
        for show in self._shows:
            show.frame(camera, analysed, age_ms)

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """See `Show`."""
        for show in self._shows:
            show.end(camera, counted)

    def close(self) -> None:
        """Finishes what is recorded, closes windows."""
        for show in self._closed_at_the_end:
            show.close()


class Videos:
    """Records each camera, see `Recording`.

    Raises:
        HemeError: a file is no video's, or is there already.
    """

    def __init__(self, request: Request) -> None:
        self._files = [recording_file(request, number) for number in range(len(request.cameras))]
        self._recordings: list[Recording] = []

    def begin(self, cameras: Sequence[Camera]) -> None:
        """Says where the recordings are."""
        for camera, path in zip(cameras, self._files, strict=True):
            about = {
                "source": camera.source.name,
                "simulated": is_simulated(camera.source),
                "notice": RESEARCH_USE_ONLY,
            }
            camera.recording = Recording(path, about, note)
            self._recordings.append(camera.recording)
            note(f"Recording {path}, and what is drawn on it {overlay_file(path)}.")

    def frame(self, camera: Camera, analysed: Analysed, age_ms: float) -> None:
        """Hands the frame over."""
        if camera.recording is not None:
            camera.recording.offer(analysed)

    def end(self, camera: Camera, counted: Sequence[CountedCell]) -> None:
        """Nothing: files are finished by ``close``, however the session ends."""

    def close(self) -> None:
        """Finishes the files, of all cameras in one second."""
        until_s = time.monotonic() + FINISH_S
        for recording in self._recordings:
            recording.close(until_s)
            done = recording.record()
            note(
                f"{done['recording']}: {done['frames_recorded']} frames recorded, "
                f"{done['frames_not_recorded']} not."
            )
