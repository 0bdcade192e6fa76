"""Parts of ``heme-edge live`` by themselves: the hand-over of frames, places, whole cells."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from heme_edge.crops import Image
from heme_edge.field_score import score_field
from heme_edge.frames.base import Frame, SlidePlace
from heme_edge.ledger import Window
from heme_edge.live import Request, run
from heme_edge.live.camera import aside
from heme_edge.live.placing import Placer
from heme_edge.live.slots import Placed, Slots
from heme_edge.nameable import Nameable
from heme_edge.stage import TRACKING, Join, Placement
from heme_edge.stopping import Stopping
from tests.edge_runtime.live_kit import field

PLACEMENT = Placement(0.0, 0.0, 0, 1.0, TRACKING, 0.0)


def placed(number: int, *joins: Join) -> Placed:
    frame = Frame(np.zeros((4, 4, 3), np.uint8), number, 0.0)
    return Placed(frame, Window(PLACEMENT, 4, 4, 0.25), joins)


def test_the_newest_frame_replaces_one_that_was_not_taken_but_its_joins_are_kept() -> None:
    slots, joins = Slots(1), [Join(1, 0, 5.0, 0.0), Join(2, 0, 0.0, 7.0)]
    for number, join in enumerate(joins):
        assert slots.put(0, placed(number, join), wait=False)
    taken = slots.take()
    assert taken is not None
    assert taken[1].frame.index == 1
    assert taken[1].joins == tuple(joins)


def test_a_file_waits_for_its_frame_to_be_taken() -> None:
    slots = Slots(1)

    def read() -> None:
        for number in range(5):
            slots.put(0, placed(number), wait=True)
        slots.end(0)

    thread = threading.Thread(target=read)
    thread.start()
    taken = []
    while (one := slots.take()) is not None:
        taken.append(one[1].frame.index)
    thread.join()
    assert taken == [0, 1, 2, 3, 4]


def test_sources_have_their_turns() -> None:
    slots = Slots(3)
    taken = []
    for number in range(12):
        for source in (0, 1, 2) if number % 4 else (0,):
            slots.put(source, placed(number), wait=False)
        one = slots.take()
        assert one is not None
        taken.append(one[0])
    assert min(taken.count(source) for source in range(3)) >= 3


def test_close_ends_a_waiting_take_and_a_waiting_put() -> None:
    slots = Slots(2)
    slots.put(0, placed(0), wait=False)
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(slots.put(0, placed(1), wait=True)))
    waiting.start()
    time.sleep(0.05)
    slots.close()
    waiting.join(1)
    assert results == [False]
    assert slots.take() is None


def test_what_fails_aside_is_raised_here() -> None:
    assert aside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 / 0)


def frame(image: Image, index: int, **more: object) -> Frame:
    return Frame(image, index, index / 30, **more)  # type: ignore[arg-type]  # name or place


def test_a_camera_that_comes_back_with_another_size_starts_another_patch() -> None:
    placer, image = Placer(lambda _: 0.25), field(4)
    patches = [placer.place(frame(image, k)).window.patch for k in range(3)]
    patches += [placer.place(frame(image[:400, :600], k)).window.patch for k in range(3, 6)]
    patches += [placer.place(frame(image, k)).window.patch for k in range(6, 9)]
    assert patches == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_photos_and_slides_are_not_tracked() -> None:
    placer, image = Placer(lambda _: 0.25), field(4)
    photos = [placer.place(frame(image, k, name=f"{k}.jpg")) for k in range(3)]
    assert [photo.window.patch for photo in photos] == [0, 1, 2]
    there = SlidePlace(120.0, 340.0, (0.0, 0.0, 1.0, 1.0))
    window = placer.place(frame(image, 3, place=there)).window
    assert window.place_um(4, 8) == (121.0, 342.0)


def test_a_cell_is_cut_by_a_border_or_a_round_field_of_view() -> None:
    image = field(4)
    rows, columns = np.mgrid[:480, :640]
    outside = np.hypot(columns - 320, rows - 240) > 230
    round_view = np.where(outside[..., None], 5, image).astype(np.uint8)
    whole = Nameable.of(image, score_field(image, 0.25), 48.0)
    part = Nameable.of(round_view, score_field(round_view, 0.25), 48.0)
    assert (whole.problem(60, 60, 20), part.problem(60, 60, 20)) == ("", "edge")
    assert (whole.problem(320, 240, 20), part.problem(320, 240, 20)) == ("", "")
    assert whole.problem(40, 240, 20) == "edge"  # its crop is cut
    assert whole.problem(70, 240, 75) == "edge"  # its circle is cut
    assert part.problem(320 + 215, 240, 20) == "edge"


def test_no_thread_outlives_a_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is within a library when Python ends aborts the process."""
    real = Placer.place

    def slow(self: Placer, frame: Frame) -> Placed:
        time.sleep(0.4)
        return real(self, frame)

    monkeypatch.setattr(Placer, "place", slow)
    with Stopping() as stopping:
        assert run(Request(("sim",), seconds=1.5, headless=True), stopping) == 0
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("read ", "grab "))], names
    assert "summary" in capsys.readouterr().out
