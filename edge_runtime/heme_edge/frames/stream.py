"""Network streams: MJPEG over HTTP, RTSP."""

from __future__ import annotations

from urllib.parse import urlsplit

from heme_edge.errors import SourceError
from heme_edge.frames.capture import CaptureGrabber
from heme_edge.frames.live import LiveSource
from heme_edge.frames.quiet import quiet_opencv

STREAM_HINT = "Check the network and that the camera's app is still streaming, then start again."


def open_stream(url: str, *, stall_s: float = 5.0) -> LiveSource:
    """Opens a network stream; blocks until it answers, ``stall_s`` seconds at most.

    Raises:
        SourceError: nothing answers there, or what answers is no video stream.
    """
    quiet_opencv()
    import cv2

    wait_ms = int(stall_s * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait_ms]
    limits += [cv2.CAP_PROP_N_THREADS, 1]  # FFmpeg holds back a frame for each further thread
    if cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends():
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    else:  # an OpenCV with GStreamer only; it has time limits of its own
        capture = cv2.VideoCapture(url)
    if not capture.isOpened():
        capture.release()
        raise SourceError(
            f"The stream {without_password(url)} could not be opened.",
            "Open the address in a browser on this machine: it must show the moving picture.",
        )
    name = f"the stream {without_password(url)}"
    return LiveSource(name, CaptureGrabber(capture), stall_s=stall_s, hint=STREAM_HINT)


def without_password(url: str) -> str:
    """The address without ``user:password@``, for names and messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
