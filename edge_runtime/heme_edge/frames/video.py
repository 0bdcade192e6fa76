"""Video files: every frame in order, or as fast as they were taken."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from heme_edge.errors import SourceError
from heme_edge.frames.base import Frame
from heme_edge.frames.live import to_rgb
from heme_edge.frames.quiet import quiet_opencv

COMPLETE = 0.98
"""A video whose last frame lies at or after this share of its length was read to its end."""

USUAL_FPS = 30.0


class VideoFile:
    """A video file as a frame source. No frame is dropped, unless it plays in real time.

    A file that breaks off gives the frames before the break, then SourceError: the frame count
    in its header is compared with what could be read. Where the container has no exact count
    (variable frame rate), the time of the last frame decides.

    Args:
        path: the file.
        real_time: plays it as a camera would, from the first ``read`` on: each frame when it is
            due, and one that is not read by the time the next is due is dropped.

    Raises:
        SourceError: not a video that OpenCV can read.
    """

    um_per_px: float | None = None

    def __init__(self, path: Path, *, real_time: bool = False) -> None:
        quiet_opencv()
        import cv2

        self.name = f"video {path.name}"
        self.live = real_time
        self._path = path
        self._started_s: float | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._index = 0
        self._last_ms = 0.0
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{path} is not a video that can be read.",
                "Use an MP4, MOV, AVI or MKV file that plays to its end, or a folder of photos.",
            )
        self._expected = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._fps = self._capture.get(cv2.CAP_PROP_FPS)

    @property
    def captured(self) -> int:
        """Frames read or dropped so far."""
        return self._index

    def read(self) -> Frame | None:
        """The next frame, or None at the end and after ``close``.

        ``captured_s`` is when it was decoded; when it was due where it plays in real time.

        Raises:
            SourceError: the file breaks off before its end.
        """
        import cv2

        with self._lock:
            due_s = self._wait_until_due() if self.live else None
            if self._closed or self._stopped.is_set():
                return None
            position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            ok, image = self._capture.read()
            if not ok:
                self._check_end()
                return None
            self._last_ms = max(position_ms, self._capture.get(cv2.CAP_PROP_POS_MSEC))
            frame = Frame(to_rgb(image), self._index, due_s or time.monotonic())  # type: ignore[arg-type]  # OpenCV types a frame as any array
            self._index += 1
            return frame

    def close(self) -> None:
        """Closes the file; waits for a frame that is being decoded."""
        self._stopped.set()
        with self._lock:
            self._closed = True
            self._capture.release()

    def _wait_until_due(self) -> float:
        """Drops what is late, waits for what is early; when the next frame is due."""
        now = time.monotonic()
        period_s = 1 / self._fps if self._fps > 0 else 1 / USUAL_FPS
        if self._started_s is None:
            self._started_s = now
        due_s = self._started_s + self._index * period_s
        while due_s + period_s < now and self._capture.grab():
            self._index += 1
            due_s += period_s
        self._stopped.wait(max(0.0, due_s - now))
        return due_s

    def _check_end(self) -> None:
        if self._index == 0:
            raise SourceError(f"{self._path} holds no frame that can be read.", "Is it damaged?")
        missing = self._index < self._expected - 1
        length_ms = 1000 * (self._expected - 1) / self._fps if self._fps > 0 else float("inf")
        if missing and self._last_ms < COMPLETE * length_ms:
            raise SourceError(
                f"{self._path} breaks off after {self._index} of {self._expected:.0f} frames.",
                "The frames before the break were used; copy the file again from the camera.",
            )
