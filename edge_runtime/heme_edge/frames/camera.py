"""USB and V4L2 cameras."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from heme_edge.errors import SourceError
from heme_edge.frames.capture import CaptureGrabber
from heme_edge.frames.live import LiveSource
from heme_edge.frames.quiet import quiet_opencv

DEVICES = Path("/dev")
DRIVERS = Path("/sys/class/video4linux")
LOST_HINT = "Check the cable, then start again; 'heme-edge doctor' lists the cameras."


@dataclass(frozen=True)
class CameraDevice:
    """One camera that the system lists.

    Attributes:
        index: the number that names it on the command line.
        path: ``/dev/videoN``.
        by_id: its lasting path under ``/dev/v4l/by-id``, or empty.
        label: the driver's name for it, or empty.
    """

    index: int
    path: str
    by_id: str = ""
    label: str = ""


def list_cameras(devices: Path = DEVICES, drivers: Path = DRIVERS) -> list[CameraDevice]:
    """The V4L2 cameras of this machine by index; empty where the system has no V4L2.

    A camera's further nodes (metadata) are left out. Nothing is opened.
    """
    names = {os.path.realpath(link): str(link) for link in (devices / "v4l/by-id").glob("*")}
    found = []
    for path in devices.glob("video*"):
        number = path.name.removeprefix("video")
        if not number.isdecimal() or _text(drivers / path.name / "index") not in ("", "0"):
            continue
        by_id = names.get(os.path.realpath(path), "")
        label = _text(drivers / path.name / "name")
        found.append(CameraDevice(int(number), str(path), by_id, label))
    return sorted(found, key=lambda camera: camera.index)


def open_camera(
    spec: str, *, stall_s: float = 5.0, size: tuple[int, int] = (1920, 1080)
) -> LiveSource:
    """Opens a camera by number or path; MJPG is asked for first (30 fps at full size over USB).

    Args:
        spec: digits, ``/dev/videoN`` or a link to it such as ``/dev/v4l/by-id/...``.
        stall_s: no new picture for so many seconds is an error.
        size: width and height in px to ask for; the driver gives the nearest it has.

    Raises:
        SourceError: it is not there, may not be opened, or gives no video.
    """
    quiet_opencv()
    import cv2

    linux = sys.platform.startswith("linux")
    path = f"/dev/video{int(spec)}" if spec.isdecimal() else os.path.realpath(spec)
    if linux:
        _check_node(spec, Path(path))
    target = int(spec) if spec.isdecimal() else path
    capture = cv2.VideoCapture(target, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
    if not capture.isOpened():
        capture.release()
        if not linux:
            raise _not_found(spec)
        raise SourceError(
            f"Camera {spec} is there but gives no video.",
            f"Close other programs that use it. {_what_there_is()}",
        )
    _ask(capture, size)
    grabber = CaptureGrabber(capture)
    name = f"camera {spec}"
    return LiveSource(name, grabber, stall_s=stall_s, patience_s=1.0, hint=LOST_HINT)


def _ask(capture: object, size: tuple[int, int]) -> None:
    """MJPG, then the size: a driver offers the large sizes at full rate only in MJPG."""
    import cv2

    assert isinstance(capture, cv2.VideoCapture)
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])


def _check_node(spec: str, node: Path) -> None:
    if not node.exists():
        raise _not_found(spec)
    if not os.access(node, os.R_OK | os.W_OK):
        raise SourceError(
            f"Camera {spec} may not be opened by this user.",
            "sudo usermod -aG video $USER, then log in again.",
        )


def _not_found(spec: str) -> SourceError:
    return SourceError(f"Camera {spec} was not found.", _what_there_is())


def _what_there_is() -> str:
    cameras = list_cameras()
    if not cameras:
        return "This machine lists no camera; plug one in and run 'heme-edge doctor'."
    listed = ", ".join(f"{c.index} ({c.label or c.by_id or c.path})" for c in cameras)
    return f"Cameras here: {listed}. See also 'heme-edge doctor'."


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
