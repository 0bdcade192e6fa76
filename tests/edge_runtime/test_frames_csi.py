"""CSI cameras through ``gst-launch-1.0``, which here is a stand-in: see ``csi_kit``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heme_edge.errors import SourceError
from heme_edge.frames import FrameSource, open_source
from heme_edge.frames.csi import pipeline
from heme_edge.frames.reopen import Reopened
from tests.edge_runtime.csi_kit import SIZE, install, runs
from tests.edge_runtime.test_frames_kit import is_red, no_leaked_threads, number_of


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    with no_leaked_threads():
        yield


def open_here(spec: str = "csi", stall_s: float = 0.6) -> FrameSource:
    return open_source(spec, stall_s=stall_s, camera_size=SIZE)


def lost(source: FrameSource) -> SourceError:
    """What it says when it is lost."""
    try:
        while source.read() is not None:
            pass
    except SourceError as error:
        return error
    finally:
        source.close()
    raise AssertionError("it was not lost")


def test_pictures_come_whole_and_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    source = open_here("csi:1")
    for _ in range(8):
        frame = source.read()
        assert frame is not None
        assert is_red(frame.image)
        assert number_of(frame.image) == frame.index
    time.sleep(0.5)
    newest = source.read()
    assert newest is not None
    assert newest.index - frame.index >= 10
    assert time.monotonic() - newest.captured_s < 0.1
    source.close()
    said = (tmp_path / "arguments").read_text()
    assert said.startswith("-q nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),")
    assert "framerate=30/1" in said
    assert not runs(tmp_path)


def test_opencv_and_the_pipe_get_one_pipeline() -> None:
    assert pipeline(0, (1920, 1080)) == (
        "nvarguscamerasrc sensor-id=0 ! "
        "video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
    )


def test_its_death_is_said_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, limit=9)
    source = open_here(stall_s=5)
    started = time.monotonic()
    error = lost(source)
    assert time.monotonic() - started < 2
    assert source.captured == 9
    assert error.message == (
        "Camera csi:0 failed while reading (gst-launch-1.0 ended: "
        "ERROR: from element nvarguscamerasrc0: CANCELLED)."
    )
    assert "nvargus-daemon" in error.hint


def test_a_new_one_is_started_after_its_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, limit=9)
    said: list[str] = []
    source = Reopened(open_here(), open_here, 5.0, said.append)
    indices = []
    while len(indices) < 12:
        frame = source.read()
        assert frame is not None
        indices.append(frame.index)
    source.close()
    assert indices == sorted(set(indices))
    assert indices[-1] > 9
    assert "Trying again for 5 s." in said[0]
    assert said[1] == "Camera csi:0 is back."
    assert not runs(tmp_path)


def test_its_stall_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, limit=9, hangs=True)
    started = time.monotonic()
    assert lost(open_here()).message == "Camera csi:0 stopped sending frames 0.6 s ago."
    assert time.monotonic() - started < 3
    assert not runs(tmp_path)


@pytest.mark.parametrize("limit", [-1, 3])
def test_close_ends_a_program_that_does_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    install(tmp_path, monkeypatch, limit=limit, hangs=True, deaf=True)
    source = open_here(stall_s=30)
    assert source.read() is not None
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 2
    assert source.read() is None
    assert not runs(tmp_path)


def test_no_such_camera_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, refuses=True)
    with pytest.raises(SourceError, match=r"gives no video .*no element") as caught:
        open_here()
    assert caught.value.hint
    install(tmp_path, monkeypatch, limit=0, hangs=True)
    monkeypatch.setattr("heme_edge.frames.csi.OPEN_S", 0.5)
    with pytest.raises(SourceError, match="gives no picture"):
        open_here()
    assert not runs(tmp_path)


def test_no_gstreamer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="A CSI camera needs GStreamer") as caught:
        open_here()
    assert "gstreamer1.0-tools" in caught.value.hint
    with pytest.raises(SourceError, match="There is no camera 'csi:x'"):
        open_here("csi:x")
