"""What of a frame `live` searches: only where something is new, and nothing is lost by it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from heme_edge.backends import open_backend
from heme_edge.backends.fake import FakeBackend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.detect import open_detector
from heme_edge.detect.base import Detector, Finds
from heme_edge.frames.base import Frame
from heme_edge.ledger import CellLedger, Entry, View, Window
from heme_edge.ledger.parts import MARGIN_UM, part_around
from heme_edge.live.analyser import NOTHING_NEW, Analysed, Analyser, _first
from heme_edge.live.pace import FRAME_S, LEAST, MOST, Pace
from heme_edge.live.part import NEAR_UM, Part
from heme_edge.live.run import _warm_up
from heme_edge.live.slots import Placed
from heme_edge.naming import Namer
from heme_edge.results import DetectedCell
from heme_edge.stage import TRACKING, Placement
from heme_edge.stopping import Stopping
from heme_edge.tally import Tally
from tests.conftest import draw_field

UM, FRAME = 0.25, (0.0, 0.0, 320.0, 240.0)
STEP_PX = 24


def strip(x_um: float) -> np.ndarray:
    return np.array([(x_um, y) for y in np.arange(8.0, 240.0, 16.0)])


def row(y_um: float) -> np.ndarray:
    return np.array([(x, y_um) for x in np.arange(8.0, 320.0, 16.0)])


def test_a_new_strip_is_searched_with_a_margin() -> None:
    assert part_around(strip(300), FRAME)[0] == (258, 0, 320, 240)
    assert part_around(np.array([(100.0, 120.0)]), FRAME)[0] == (58, 78, 142, 162)


def test_of_two_strips_the_longer_has_its_turn_first() -> None:
    assert part_around(np.vstack([strip(300), row(230)]), FRAME)[0] == (0, 132, 320, 240)
    assert part_around(np.vstack([strip(300), row(230)[:5]]), FRAME)[0][0] == 258


def test_what_was_passed_over_has_its_turn() -> None:
    """A lone cell at the lower border of a scan to the left, that was cut when it came in."""
    ledger = CellLedger()
    frames = [
        Window(Placement(-16.0 * k, 0.0, 0, 1.0, TRACKING, 0.0), 1280, 960, UM) for k in (0, 1)
    ]
    for _ in range(4):
        ledger.see(frames[0], [], lambda *_: "")
    cell = DetectedCell(250 / UM, 222 / UM, 4 / UM, 1.0)
    ledger.see(frames[0], [cell], lambda *_: "edge")
    areas = [ledger.wanted(frames[1]) for _ in range(2)]
    assert [area is not None and area[0] for area in areas] == [-16.0, pytest.approx(250, abs=50)]


def test_around_an_object_wider_than_a_crop_a_part_is_enough() -> None:
    """It was a reason to search the whole frame, four times for each such object."""
    ledger, frame = CellLedger(), Window(Placement(0.0, 0.0, 0, 1.0, TRACKING, 0.0), 1280, 960, UM)
    for _ in range(4):
        ledger.see(frame, [], lambda *_: "")
    wide = DetectedCell(60 / UM, 120 / UM, 40 / UM, 1.0)
    ledger.see(frame, [wide], lambda *_: "")
    area = ledger.wanted(frame)
    assert area == (0.0, 120 - 40 - MARGIN_UM, 60 + 40 + MARGIN_UM, 120 + 40 + MARGIN_UM)


def test_what_is_new_all_over_is_searched_in_halves() -> None:
    """After a jump the whole frame was searched four times in a row: the oldest frames shown."""
    ledger, frame = CellLedger(), Window(Placement(0.0, 0.0, 0, 1.0, TRACKING, 0.0), 1280, 960, UM)
    areas = []
    while (area := ledger.wanted(frame)) is not None:
        areas.append(area)
        ledger.see(frame.part(area)[0], [], lambda *_: "")
    left, right = (0, 0, 160 + MARGIN_UM, 239.75), (160 - MARGIN_UM, 0, 319.75, 239.75)
    tiles = [pytest.approx(half, abs=25) for half in (right, left)]
    assert areas == tiles * ledger.rules.looks


def test_of_a_tall_frame_the_halves_lie_above_each_other() -> None:
    places = np.vstack([(x, y) for x in range(8, 200, 16) for y in range(8, 400, 16)])
    part, within = part_around(places, (0.0, 0.0, 200.0, 400.0))
    assert within == (0, 0, 200, 200)
    assert part == (0, 0, 200, 200 + MARGIN_UM)


def test_a_small_frame_is_searched_whole() -> None:
    small = (0.0, 0.0, 160.0, 120.0)
    places = np.vstack([(x, y) for x in range(8, 160, 16) for y in range(8, 120, 16)])
    assert part_around(places, small)[0] == small


def test_a_part_tells_of_what_its_own_borders_do_not_cut() -> None:
    image = np.zeros((960, 1280, 3), np.uint8)
    window = Window(Placement(50.0, 70.0, 0, 1.0, TRACKING, 0.0), 1280, 960, UM)
    part = Part.of(Frame(image, 3, 0.0), window, (270.0, 70.0, 380.0, 310.0))
    assert part.corner_px == (880, 0)
    assert part.image.shape == (960, 400, 3)
    assert (part.window.placement.x_um, part.window.placement.y_um) == (270.0, 70.0)
    near = NEAR_UM / UM
    for x_px, told in ((near - 1, False), (near, True), (399, True)):
        assert part.tells_of(DetectedCell(x_px, 2, 20, 1.0)) == told
    assert part.in_frame(DetectedCell(10, 20, 20, 1.0)).x_px == 890


class Watched(Detector):
    """The bundle's detector, and what it was shown."""

    def __init__(self) -> None:
        self.own = open_detector()
        self.shown: list[int] = []

    name, looks_for = "learned", ()

    def find(self, image: Image, um_per_px: float) -> list[DetectedCell]:
        return self.look(image, um_per_px).cells

    def look(self, image: Image, um_per_px: float) -> Finds:
        self.shown.append(image.shape[0] * image.shape[1])
        return self.own.look(image, um_per_px)


@pytest.fixture
def watched() -> Iterator[tuple[Analyser, Watched]]:
    bundle, detector = load_bundle(), Watched()
    backend = open_backend(bundle, "onnxruntime", "int8")
    yield Analyser(Namer(bundle, backend, detector), CellLedger(), Tally.of(bundle)), detector
    backend.close()


class Slow(Pace):
    """Of a machine on which there is never time."""

    def cells(self, spent_s: float) -> int:
        return LEAST


def slide() -> Image:
    """Drawn fields side by side, 2560x960 px."""
    half = np.hstack([draw_field(1280, 480)] * 2)
    return np.vstack([half, half[:, ::-1]])


def seen(analyser: Analyser, image: Image, number: int, left_px: int) -> Analysed:
    view = np.ascontiguousarray(image[:, left_px : left_px + 1280])
    window = Window(Placement(left_px * UM, 0.0, 0, 1.0, TRACKING, 0.0), 1280, 960, UM)
    return analyser.analyse(Placed(Frame(view, number, 0.0), window))


def test_a_moving_stage_is_searched_where_it_is_new_and_each_cell_is_counted_once(
    watched: tuple[Analyser, Watched],
) -> None:
    analyser, detector = watched
    image, counted = slide(), []
    for number in range(60):
        left_px = STEP_PX * max(0, min(number - 6, 50))
        counted += seen(analyser, image, number, left_px).counted
    counted += analyser.finish()
    whole = detector.own.find(np.ascontiguousarray(image[:, : 50 * STEP_PX + 1280]), UM)
    inside = [c for c in whole if min(c.x_px, c.y_px, 2479 - c.x_px, 959 - c.y_px) > 60]
    for cell in inside:
        there = [
            one
            for one in counted
            if abs(one.entry.x_um - cell.x_px * UM) + abs(one.entry.y_um - cell.y_px * UM) < 4
        ]
        assert len(there) == 1
    assert max(detector.shown[:8]) <= 0.65 * 1280 * 960
    assert max(detector.shown[8:]) <= 0.5 * 1280 * 960
    assert np.mean(detector.shown[8:]) < 0.4 * 1280 * 960


def test_cells_of_a_known_place_are_named_without_being_found_again(
    watched: tuple[Analyser, Watched],
) -> None:
    analyser, detector = watched
    analyser.pace = Slow()
    image, lines = slide(), []
    for number in range(40):
        lines.append(seen(analyser, image, number, 0))
    assert len(detector.shown) == 8
    assert analyser.named > 32
    assert lines[8].not_used == ""
    assert lines[-1].not_used == NOTHING_NEW
    assert {len(one.entry.views) for line in lines for one in line.counted} == {3}
    shown = {(round(c.x_px), round(c.y_px)): c.name for c in lines[-1].cells}
    for line in lines:
        for one in line.counted:
            view = one.entry.best_view
            assert shown[round(one.entry.x_um / UM), round(one.entry.y_um / UM)] == one.name
            assert 0 <= view.x_px < 1280


def test_every_number_of_crops_is_shown_before_the_first_frame() -> None:
    met = set()

    class Counting(FakeBackend):
        def infer(self, crops: Image) -> tuple[np.ndarray, np.ndarray]:
            met.add(len(crops))
            return super().infer(crops)

    _warm_up(Counting(), Stopping())
    assert met == set(range(1, MOST + 1))


def test_as_many_cells_are_named_as_there_is_time_for() -> None:
    pace = Pace()
    assert pace.cells(0.0) == LEAST
    pace.named(LEAST - 1, 1.0)
    assert pace.cells(0.0) == LEAST, "a few tell nothing"
    pace.named(8, 8 * FRAME_S / 20)
    assert pace.cells(0.0) == MOST
    assert pace.cells(FRAME_S / 2) == 10
    assert pace.cells(2 * FRAME_S) == LEAST
    for _ in range(100):
        pace.named(8, 8 * FRAME_S / 6)
    assert pace.cells(0.0) in (5, 6)


def test_a_quarter_goes_to_those_that_lack_least_and_the_rest_to_those_without_a_name() -> None:
    cell = DetectedCell(0.0, 0.0, 20.0, 1.0)
    view = View(0, 0.0, 0.0, np.zeros(3, np.float32), 0.0)

    def pairs(*views: int) -> list[tuple[DetectedCell, Entry]]:
        entries = [
            Entry(x_um=0.0, y_um=0.0, radius_um=5.0, score=1.0, id=k, views=[view] * count)
            for k, count in enumerate(views)
        ]
        return [(cell, entry) for entry in entries]

    def turns(found: list[tuple[DetectedCell, Entry]]) -> list[int]:
        return [len(entry.views) for _, entry in found]

    waiting = pairs(2, 2, 1, 0, 0, 0, 0, 0, 0, 0)
    assert turns(_first(waiting, 4)) == [2, 0, 0, 0]
    assert turns(_first(waiting, 8)) == [2, 2, 0, 0, 0, 0, 0, 0]
    assert turns(_first(pairs(2, 2, 1, 0), 4)) == [2, 0, 2, 1]
    assert turns(_first(pairs(0, 0, 0, 0, 0), 4)) == [0] * 4
    assert turns(_first(pairs(2, 1, 1), 4)) == [2, 1, 1]


def test_on_a_slow_machine_fewer_are_named_of_a_frame_and_none_is_lost(
    watched: tuple[Analyser, Watched],
) -> None:
    analyser, _ = watched
    own, asked = analyser.namer.backend, []

    class SlowBackend(FakeBackend):
        def infer(self, crops: Image) -> tuple[np.ndarray, np.ndarray]:
            asked.append(len(crops))
            time.sleep(0.02 * len(crops))
            return own.infer(crops)

    analyser.namer = replace(analyser.namer, backend=SlowBackend())
    image, counted = slide(), []
    for number in range(40):
        counted += seen(analyser, image, number, 0).counted
    assert max(asked) == LEAST
    assert sum(asked) == analyser.named > 32
    assert Counter(len(one.entry.views) for one in counted) == {3: len(counted)}
    assert 3 * len(counted) == analyser.named
