"""Video files: every frame, in order."""

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


class VideoFile:
    """A video file as a frame source. No frame is dropped.

    A file that breaks off gives the frames before the break, then SourceError: the frame count
    in its header is compared with what could be read. Where the container has no exact count
    (variable frame rate), the time of the last frame decides.

    Args:
        path: the file.

    Raises:
        SourceError: not a video that OpenCV can read.
    """

    live = False
    um_per_px: float | None = None

    def __init__(self, path: Path) -> None:
        quiet_opencv()
        import cv2

        self.name = f"video {path.name}"
        self._path = path
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
        """Frames read so far."""
        return self._index

    def read(self) -> Frame | None:
        """The next frame, or None at the end and after ``close``.

        ``captured_s`` is when it was decoded.

        Raises:
            SourceError: the file breaks off before its end.
        """
        import cv2

        with self._lock:
            if self._closed:
                return None
            position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            ok, image = self._capture.read()
            if not ok:
                self._check_end()
                return None
            self._last_ms = max(position_ms, self._capture.get(cv2.CAP_PROP_POS_MSEC))
            frame = Frame(to_rgb(image), self._index, time.monotonic())  # type: ignore[arg-type]  # OpenCV types a frame as any array
            self._index += 1
            return frame

    def close(self) -> None:
        """Closes the file; waits for a frame that is being decoded."""
        with self._lock:
            self._closed = True
            self._capture.release()

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
