"""One suite over every frame source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from heme_edge.frames import FrameSource, is_simulated, open_source
from heme_edge.frames.live import LiveSource
from heme_edge.frames.whole_slide import WholeSlide
from heme_edge.sim.slide import draw_smear
from heme_edge.sim.stage import SimulatedStage
from tests.edge_runtime.csi_kit import SIZE, install
from tests.edge_runtime.slide_kit import write_slide
from tests.edge_runtime.test_frames_kit import (
    HEIGHT,
    WIDTH,
    FakeGrabber,
    is_red,
    mjpeg_server,
    no_leaked_threads,
    number_of,
    picture,
    write_photos,
    write_video,
)

FILE_FRAMES = 7


@dataclass
class Case:
    """A source under test and, for a live one, what it had sent by now."""

    source: FrameSource
    sent: Callable[[], int] | None = None


def _stage(tmp_path: Path, stack: ExitStack) -> Case:
    smear = draw_smear(5, width_um=200, height_um=150, um_per_px=0.25)
    start = time.monotonic()
    stage = SimulatedStage(seed=5, smear=smear, view=(256, 160))
    return Case(stage, lambda: int((time.monotonic() - start) * 30))


def _camera(tmp_path: Path, stack: ExitStack) -> Case:
    grabber = FakeGrabber()
    return Case(LiveSource("camera 0", grabber, stall_s=3), lambda: grabber.sent)


def _stream(tmp_path: Path, stack: ExitStack) -> Case:
    server = stack.enter_context(mjpeg_server())
    return Case(open_source(server.url, stall_s=3), lambda: server.sent)


def _csi(tmp_path: Path, stack: ExitStack) -> Case:
    """By a program that writes into a pipe."""
    install(tmp_path, stack.enter_context(pytest.MonkeyPatch.context()))
    return Case(open_source("csi", stall_s=3, camera_size=SIZE))


def _video(tmp_path: Path, stack: ExitStack) -> Case:
    return Case(open_source(str(write_video(tmp_path / "smear.avi", FILE_FRAMES))))


def _folder(tmp_path: Path, stack: ExitStack) -> Case:
    return Case(open_source(str(write_photos(tmp_path / "photos", FILE_FRAMES))))


def _slide(tmp_path: Path, stack: ExitStack) -> Case:
    """The numbered pictures side by side on a slide; each is a field."""
    picture_row = np.concatenate([picture(number) for number in range(FILE_FRAMES)], axis=1)
    path = write_slide(tmp_path / "row.svs", picture_row, levels=1)
    fields = [(x, 0, x + WIDTH, HEIGHT) for x in range(0, FILE_FRAMES * WIDTH, WIDTH)]
    return Case(WholeSlide(path, cores=fields, margin_um=0))


SOURCES = {f.__name__[1:]: f for f in (_stage, _camera, _stream, _csi, _video, _folder, _slide)}
LIVE, FILES = ("stage", "camera", "stream", "csi"), ("video", "folder", "slide")


@pytest.fixture(scope="module", autouse=True)
def zarr_thread(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The one thread that zarr, which reads slides, keeps for the life of the process."""
    with ExitStack() as stack:
        source = _slide(tmp_path_factory.mktemp("zarr"), stack).source
        source.read()
        source.close()


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with no_leaked_threads(), ExitStack() as stack:
        made = SOURCES[request.param](tmp_path, stack)
        try:
            yield made
        finally:
            made.source.close()


every_source = pytest.mark.parametrize("case", list(SOURCES), indirect=True)
live_sources = pytest.mark.parametrize("case", LIVE, indirect=True)
file_sources = pytest.mark.parametrize("case", FILES, indirect=True)


@every_source
def test_frames_are_rgb_numbered_and_timed(case: Case) -> None:
    source = case.source
    assert source.name
    last_index, last_s = -1, 0.0
    for _ in range(4):
        frame = source.read()
        assert frame is not None
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (160, 256, 3)
        assert frame.index > last_index
        assert last_s <= frame.captured_s <= time.monotonic()
        assert source.captured > frame.index
        last_index, last_s = frame.index, frame.captured_s


@every_source
def test_red_stays_red(case: Case) -> None:
    frame = case.source.read()
    assert frame is not None
    if is_simulated(case.source):
        red, green, blue = np.percentile(frame.image.reshape(-1, 3), 95, axis=0)
        assert red > green > blue
    else:
        assert is_red(frame.image)


@every_source
def test_close_twice_then_read_gives_none(case: Case) -> None:
    assert case.source.read() is not None
    case.source.close()
    case.source.close()
    assert case.source.read() is None


@every_source
def test_close_before_the_first_read(case: Case) -> None:
    case.source.close()
    assert case.source.read() is None


@live_sources
def test_close_ends_a_waiting_read(case: Case) -> None:
    results: list[object] = []

    def read_on() -> None:
        while (frame := case.source.read()) is not None:
            results.append(frame.index)

    thread = threading.Thread(target=read_on)
    thread.start()
    while not results:
        time.sleep(0.01)
    start = time.monotonic()
    case.source.close()
    thread.join(5)
    assert time.monotonic() - start < 2
    assert results == sorted(set(results))


@live_sources
def test_a_slow_reader_gets_the_newest_frame(case: Case) -> None:
    source = case.source
    assert source.live
    first = source.read()
    time.sleep(0.5)
    second = source.read()
    assert first is not None
    assert second is not None
    assert second.index - first.index >= 8
    assert time.monotonic() - second.captured_s < 0.25
    assert source.captured >= second.index + 1


@pytest.mark.parametrize("case", ["camera", "stream"], indirect=True)
def test_the_newest_frame_is_what_the_camera_saw_last(case: Case) -> None:
    assert case.sent is not None
    case.source.read()
    time.sleep(0.6)
    frame = case.source.read()
    assert frame is not None
    assert (case.sent() - number_of(frame.image)) % 256 <= 12


@file_sources
def test_a_file_gives_every_frame_in_order(case: Case) -> None:
    source = case.source
    assert not source.live
    numbers, indices = [], []
    while (frame := source.read()) is not None:
        numbers.append(number_of(frame.image))
        indices.append(frame.index)
        time.sleep(0.02)
    assert numbers == indices == list(range(FILE_FRAMES))
    assert source.captured == FILE_FRAMES
    assert source.read() is None


@every_source
def test_only_the_stage_is_simulated_and_only_it_and_slides_know_their_scale(case: Case) -> None:
    stage, slide = case.source.name == "simulated stage", isinstance(case.source, WholeSlide)
    assert is_simulated(case.source) == stage
    assert (case.source.um_per_px is not None) == (stage or slide)


@every_source
def test_only_a_slide_tells_where_a_frame_lies(case: Case) -> None:
    frame = case.source.read()
    assert frame is not None
    assert (frame.place is not None) == isinstance(case.source, WholeSlide)
