"""Live sources that stall, freeze, end or hang."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from heme_edge.errors import SourceError
from heme_edge.frames import open_source
from heme_edge.frames.base import FrameSource
from heme_edge.frames.camera import CameraDevice, list_cameras
from heme_edge.frames.live import FreezeWatch, LiveSource, to_rgb
from heme_edge.frames.stream import without_password
from tests.edge_runtime.test_frames_kit import FakeGrabber, mjpeg_server, no_leaked_threads

STALL_S = 0.6


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    with no_leaked_threads():
        yield


def read_until_lost(source: FrameSource, limit_s: float = 6.0) -> tuple[int, SourceError]:
    """Frames read, and the error at the end."""
    count, start = 0, time.monotonic()
    try:
        while time.monotonic() - start < limit_s:
            assert source.read() is not None
            count += 1
    except SourceError as error:
        return count, error
    finally:
        source.close()
    raise AssertionError("the source was not lost")


def test_a_stream_that_stops_is_lost_within_the_stall_time() -> None:
    with mjpeg_server(limit=30, hang=True) as server:
        source = open_source(server.url, stall_s=STALL_S)
        start = time.monotonic()
        count, error = read_until_lost(source)
        assert time.monotonic() - start < 30 / 50 + 4 * STALL_S
    assert 0 < count <= 30
    assert error.message == f"The stream {server.url} stopped sending frames 0.6 s ago."
    assert error.hint


def test_a_stream_that_hangs_up_is_lost() -> None:
    with mjpeg_server(limit=30) as server:
        count, error = read_until_lost(open_source(server.url, stall_s=2))
    assert count > 0
    assert server.url in error.message


def test_no_server_is_one_sentence() -> None:
    with mjpeg_server() as server:
        url = server.url
    with pytest.raises(SourceError, match="could not be opened") as caught:
        open_source(url, stall_s=1)
    assert url in caught.value.message


def test_a_grab_that_fails_for_a_moment_is_tried_again() -> None:
    grabber = FakeGrabber()
    real, calls = grabber.grab, iter([None, None])
    grabber.grab = lambda: next(calls, None) or real()  # type: ignore[method-assign]  # fails now and then
    source = LiveSource("camera 0", grabber, patience_s=1.0)
    assert source.read() is not None
    source.close()
    assert grabber.released.wait(1)


def test_an_unplugged_camera_is_lost() -> None:
    source = LiveSource("camera 0", FakeGrabber(3), stall_s=2, patience_s=0.2, hint="Check.")
    _, error = read_until_lost(source)
    assert error.message == "Camera 0 broke off."
    assert error.hint == "Check."


def test_the_last_frame_is_given_before_the_error_and_the_error_again() -> None:
    grabber = FakeGrabber(3)
    source = LiveSource("camera 0", grabber, stall_s=2)
    assert grabber.released.wait(2)
    frame = source.read()
    assert frame is not None
    assert frame.index == 2
    for _ in range(2):
        with pytest.raises(SourceError):
            source.read()
    source.close()
    assert source.read() is None


def test_a_frozen_picture_is_a_lost_camera() -> None:
    source = LiveSource("camera 0", FakeGrabber(frozen=True), stall_s=STALL_S)
    _, error = read_until_lost(source)
    assert error.message == "Camera 0 has sent the very same picture for 0.6 s."


def test_a_flat_picture_is_not_frozen() -> None:
    watch = FreezeWatch()
    dark = np.zeros((16, 16, 3), np.uint8)
    watch.seconds(dark)
    time.sleep(0.02)
    assert watch.seconds(dark) == 0.0


def test_close_does_not_wait_for_a_grab_that_hangs() -> None:
    grabber = FakeGrabber(1, hang=True)
    source = LiveSource("camera 0", grabber, stall_s=30)
    assert source.read() is not None
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 2
    assert source.read() is None
    grabber.unblock.set()
    assert grabber.released.wait(2)


def test_a_crash_in_the_grab_thread_is_one_sentence() -> None:
    grabber = FakeGrabber()
    grabber.grab = lambda: 1 / 0  # type: ignore[assignment,method-assign,return-value]  # fails
    with pytest.raises(SourceError, match="Camera 0 failed while reading"):
        LiveSource("camera 0", grabber).read()


def test_mono_and_alpha_cameras_become_rgb() -> None:
    assert to_rgb(np.zeros((4, 6), np.uint8)).shape == (4, 6, 3)
    assert to_rgb(np.zeros((4, 6, 1), np.uint8)).shape == (4, 6, 3)
    blue_alpha = np.full((4, 6, 4), (255, 0, 0, 9), np.uint8)
    assert to_rgb(blue_alpha)[0, 0].tolist() == [0, 0, 255]


def test_passwords_stay_out_of_names() -> None:
    assert without_password("rtsp://me:secret@10.0.0.5:554/live?x=1") == (
        "rtsp://10.0.0.5:554/live?x=1"
    )


def test_a_missing_camera_is_named_and_opencv_is_quiet() -> None:
    code = (
        "from heme_edge.errors import SourceError\n"
        "from heme_edge.frames import open_source\n"
        "for spec in ('77', '/dev/video77', 'http://127.0.0.1:9/'):\n"
        "    try: open_source(spec, stall_s=1)\n"
        "    except SourceError as e: print(e.message, '|', e.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert lines[0].startswith("Camera 77 was not found. |")
    assert lines[1].startswith("Camera /dev/video77 was not found. |")
    assert "heme-edge doctor" in lines[0]
    assert len(lines) == 3


def test_list_cameras_leaves_out_metadata_nodes(tmp_path: Path) -> None:
    devices, drivers = tmp_path / "dev", tmp_path / "sys"
    by_id = devices / "v4l/by-id"
    by_id.mkdir(parents=True)
    for number, index in ((10, 0), (2, 0), (3, 1)):
        (devices / f"video{number}").touch()
        (drivers / f"video{number}").mkdir(parents=True)
        (drivers / f"video{number}/index").write_text(f"{index}\n")
        (drivers / f"video{number}/name").write_text(f"Eyepiece {number}\n")
    (by_id / "usb-eyepiece").symlink_to(devices / "video2")
    assert list_cameras(devices, drivers) == [
        CameraDevice(2, str(devices / "video2"), str(by_id / "usb-eyepiece"), "Eyepiece 2"),
        CameraDevice(10, str(devices / "video10"), "", "Eyepiece 10"),
    ]
    assert list_cameras(tmp_path / "nothing", drivers) == []
