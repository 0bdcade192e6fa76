"""OpenCV's and FFmpeg's own chatter, kept off the user's terminal."""

from __future__ import annotations

import os

FFMPEG_QUIET = "-8"
"""FFmpeg's AV_LOG_QUIET."""


def quiet_opencv() -> None:
    """Stops OpenCV's and FFmpeg's warnings on stderr; call it before opening a capture.

    A user who set ``OPENCV_LOG_LEVEL`` or ``OPENCV_FFMPEG_LOGLEVEL`` keeps that setting.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
