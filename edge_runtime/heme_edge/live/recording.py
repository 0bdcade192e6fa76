"""``--record``: the video that was analysed, and beside it what was drawn on it."""

from __future__ import annotations

import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from heme_edge.crops import Image
from heme_edge.draw import ShownCell
from heme_edge.errors import HemeError
from heme_edge.frames.quiet import quiet_opencv
from heme_edge.live.analyser import Analysed

CODECS = {".mp4": ("mp4v", "avc1"), ".avi": ("MJPG",), ".mkv": ("MJPG", "mp4v")}
"""What is tried in each kind of file, in this order; OpenCV writes what it was built with."""
FRAMES_PER_S = 15.0
"""At which the video plays. Frames come as the analysis takes them; the overlay has their times."""
WAITING = 4
LEAST_FREE_BYTES = 64 << 20
"""A recording ends when so little is left on the disk, so that its file can be finished."""
FINISH_S = 1.0
"""A disk that is not done by then at the end is left alone."""


class Recording:
    """The video and overlay of one camera, written by a thread of its own.

    ``offer`` and ``close`` belong to one thread. What goes wrong is said once; the frames from
    then on are not recorded.

    Args:
        path: of the video; the overlay goes beside it, as ``.jsonl``.
        about: of the source, for the first line of the overlay.
        say: is told what goes wrong.
    """

    def __init__(
        self, path: Path, about: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:  # fmt: skip
        self._path, self._about, self._say = path, about, say
        self._waiting: queue.Queue[Analysed | None] = queue.Queue(WAITING)
        self._offered = self._written = 0
        self._started_s: float | None = None
        self._video: CleanVideo | None = None
        self._overlay: TextIO | None = None
        self._thread = threading.Thread(target=self._run, name=f"record {path.name}", daemon=True)
        self._thread.start()

    def offer(self, analysed: Analysed) -> None:
        """Takes a frame, unless the disk is behind by four already; never waits."""
        self._offered += 1
        if self._thread.is_alive() and not self._waiting.full():
            self._waiting.put_nowait(analysed)

    def close(self, until_s: float) -> None:
        """Finishes the files; a disk that hangs is left alone at ``until_s`` (monotonic)."""
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._waiting.put(None, timeout=max(0.0, until_s - time.monotonic()))
        self._thread.join(max(0.0, until_s - time.monotonic()))
        if self._thread.is_alive():
            self._say(f"{self._path} could not be finished in time: the disk is too slow.")

    def record(self) -> dict[str, Any]:
        """For the summary; exact once closed."""
        return {
            "recording": str(self._path),
            "frames_recorded": self._written,
            "frames_not_recorded": self._offered - self._written,
        }

    def _run(self) -> None:
        try:
            while (analysed := self._waiting.get()) is not None:
                self._write(analysed)
        except (HemeError, OSError) as error:
            self._say(f"{error} The recording {self._path} ends here; counting goes on.")
        finally:
            self._finish()

    def _write(self, analysed: Analysed) -> None:
        image = analysed.placed.frame.image
        if self._video is None or self._overlay is None:
            self._video, self._overlay = self._begin(analysed)
        if shutil.disk_usage(self._path.parent).free < LEAST_FREE_BYTES:
            raise HemeError(f"The disk of {self._path.parent} is full.")
        self._video.write(image)
        print(json.dumps(self._line(analysed)), file=self._overlay)
        self._written += 1

    def _begin(self, analysed: Analysed) -> tuple[CleanVideo, TextIO]:
        """Opens both files; the overlay's first line is about the whole."""
        window = analysed.placed.window
        self._path.parent.mkdir(parents=True, exist_ok=True)
        video = CleanVideo(self._path, (window.width_px, window.height_px))
        overlay = overlay_file(self._path).open("w", buffering=1)
        size = {"width_px": window.width_px, "height_px": window.height_px}
        scale = {"um_per_px": window.um_per_px, "frames_per_s": FRAMES_PER_S}
        print(json.dumps({"recording": {**self._about, **size, **scale}}), file=overlay)
        self._started_s = analysed.placed.frame.captured_s
        return video, overlay

    def _line(self, analysed: Analysed) -> dict[str, Any]:
        frame, place = analysed.placed.frame, analysed.placed.window.placement
        return {
            "video_frame": self._written,
            "frame": frame.index,
            "time_s": round(frame.captured_s - (self._started_s or 0.0), 4),
            "cells": [_cell(cell) for cell in analysed.cells],
            "place": {
                "patch": place.patch,
                "x_um": round(place.x_um, 2),
                "y_um": round(place.y_um, 2),
                "state": place.state,
            },
            "focus": round(analysed.placed.focus, 3),
        }

    def _finish(self) -> None:
        if self._video is not None:
            self._video.close()
        if self._overlay is not None:
            with suppress(OSError):  # what could not be written has been said
                self._overlay.close()


def overlay_file(video: Path) -> Path:
    """Where the overlay of a video goes."""
    return video.with_suffix(".jsonl")


def _cell(cell: ShownCell) -> dict[str, Any]:
    return {
        "x_px": round(cell.x_px, 1),
        "y_px": round(cell.y_px, 1),
        "radius_px": round(cell.radius_px, 1),
        "code": cell.name and cell.name.code,
        "probability": cell.name and round(cell.name.probability, 4),
        "state": cell.state,
    }


class CleanVideo:
    """A video file that is being written, in the first codec that OpenCV can write there.

    Args:
        path: ``.mp4``, ``.avi`` or ``.mkv``.
        size: width and height of its frames, px.

    Raises:
        HemeError: there is no such codec, or the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        quiet_opencv()
        import cv2

        self._size = size
        for codec in CODECS[path.suffix.lower()]:
            fourcc = cv2.VideoWriter.fourcc(*codec)
            self._writer = cv2.VideoWriter(str(path), fourcc, FRAMES_PER_S, size)
            if self._writer.isOpened():
                return
        path.unlink(missing_ok=True)
        raise HemeError(f"OpenCV can write no {path.suffix} video there.")

    def write(self, image: Image) -> None:
        """Appends a frame.

        Args:
            image: RGB uint8 ``[H, W, 3]``.

        Raises:
            HemeError: it is of another size, or was not written.
        """
        import cv2

        if image.shape[1::-1] != self._size:
            raise HemeError("The camera came back with another size.")
        if self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)) is False:  # None before 5.0
            raise HemeError("The video cannot be written on.")

    def close(self) -> None:
        """Finishes the file."""
        self._writer.release()
