"""Cameras on a Jetson's CSI connector, which only GStreamer can read."""

from __future__ import annotations

import shutil

from heme_edge.errors import SourceError
from heme_edge.frames.capture import CaptureGrabber
from heme_edge.frames.live import Grabber, LiveSource
from heme_edge.frames.pipe import PipeGrabber
from heme_edge.frames.quiet import quiet_opencv
from heme_edge.opencv_build import opencv_has

GST_LAUNCH = "gst-launch-1.0"
OPEN_S = 10.0
"""The sensor's driver takes a few seconds for its first picture."""
CSI_HINT = (
    "Check the ribbon cable and that no other program uses the camera, then "
    "'sudo systemctl restart nvargus-daemon'."
)


def open_csi(
    spec: str, *, stall_s: float = 5.0, size: tuple[int, int] = (1920, 1080)
) -> LiveSource:
    """Opens a CSI camera: by OpenCV where it has GStreamer, else through ``gst-launch-1.0``.

    Args:
        spec: ``csi``, or ``csi:1`` for another sensor than 0.
        stall_s: no new picture for so many seconds is an error.
        size: width and height in px; the board scales to it.

    Raises:
        SourceError: there is no GStreamer, or the camera gives no picture within 10 s.
    """
    sensor = _sensor(spec)
    by_opencv = opencv_has("GStreamer").startswith("YES")
    grabber = _by_opencv(sensor, size) if by_opencv else _by_pipe(sensor, size)
    name = f"camera csi:{sensor}"
    return LiveSource(name, grabber, stall_s=stall_s, patience_s=stall_s, hint=CSI_HINT)


def _sensor(spec: str) -> int:
    number = spec.partition(":")[2] or "0"
    if not number.isdecimal():
        raise SourceError(f"There is no camera {spec!r}.", "--camera csi, or csi:1")
    return int(number)


def pipeline(sensor: int, size: tuple[int, int]) -> str:
    """GStreamer's way from the sensor to BGR, 30 pictures a second; a sink must follow."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={size[0]},height={size[1]},framerate=30/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
    )


def _by_opencv(sensor: int, size: tuple[int, int]) -> Grabber:
    quiet_opencv()
    import cv2

    sink = "appsink drop=1 max-buffers=1 sync=false"
    capture = cv2.VideoCapture(pipeline(sensor, size) + sink, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"Camera csi:{sensor} gives no video.", CSI_HINT)
    return CaptureGrabber(capture)


def _by_pipe(sensor: int, size: tuple[int, int]) -> Grabber:
    program = shutil.which(GST_LAUNCH)
    if program is None:
        raise SourceError(
            f"A CSI camera needs GStreamer: this OpenCV has none, and there is no {GST_LAUNCH}.",
            "sudo apt install gstreamer1.0-tools; on a Jetson use JetPack's OpenCV.",
        )
    sink = "fdsink fd={fd} sync=false"
    grabber = PipeGrabber([program, "-q", *(pipeline(sensor, size) + sink).split()], size)
    try:
        if not grabber.wait(OPEN_S):
            raise SourceError(f"{GST_LAUNCH} gives no picture")
    except SourceError as error:
        grabber.release()
        raise SourceError(f"Camera csi:{sensor} gives no video ({error}).", CSI_HINT) from error
    return grabber
