"""The cell ledger: one entry for each physical cell, whatever the detector and the stage do."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from heme_edge.ledger import MOVING, SEPARATE, CellLedger, Entry, Places, Rules, Spot, View, Window
from heme_edge.ledger.ledger import Merged
from heme_edge.ledger.looks import Looks
from heme_edge.ledger.matching import apart, mutual_nearest, same
from heme_edge.live.recorder import duplicates
from heme_edge.results import DetectedCell
from heme_edge.stage import TRACKING, Join, Placement

UM, WIDTH, HEIGHT = 0.25, 1280, 960
Circle = tuple[float, float, float]


def window(x_um: float = 0.0, y_um: float = 0.0, patch: int = 0) -> Window:
    placement = Placement(x_um, y_um, patch, 1.0, TRACKING, 0.0)
    return Window(placement, WIDTH, HEIGHT, UM)


def look(
    ledger: CellLedger, at: Window, circles: Sequence[Circle], frame: int = 0
) -> tuple[list[Entry], list[Entry]]:
    """One searched frame with cells at slide places (µm): their entries, and what it counts."""
    cells = []
    for x_um, y_um, radius_um in circles:
        x_px, y_px = (x_um - at.placement.x_um) / UM, (y_um - at.placement.y_um) / UM
        cells.append(DetectedCell(x_px, y_px, radius_um / UM, 1.0))

    def problem(x_px: float, y_px: float, radius_px: float) -> str:
        margin = max(48.0, radius_px)
        sides = x_px, y_px, WIDTH - 1 - x_px, HEIGHT - 1 - y_px
        return "edge" if min(sides) < margin else ""

    entries = ledger.see(at, cells, problem).entries
    for cell, entry in zip(cells, entries, strict=True):
        named = not problem(cell.x_px, cell.y_px, cell.radius_px)
        if named and ledger.needs_name(entry):
            chance = np.array([0.1 * len(entry.views), 1 - 0.1 * len(entry.views)], np.float32)
            entry.views.append(View(frame, cell.x_px, cell.y_px, chance, 0.0))
    return entries, ledger.settle(at)


def test_a_cell_in_thirty_frames_is_counted_once() -> None:
    ledger, counted = CellLedger(), []
    rng = np.random.default_rng(0)
    for frame in range(30):
        place = (150 + rng.normal(0, 0.4), 120 + rng.normal(0, 0.4), 6.0)
        entries, new = look(ledger, window(2.0 * frame), [place], frame)
        counted += new
    assert len(counted) == 1
    assert counted == entries
    assert counted[0].seen == 30
    assert (counted[0].x_um, counted[0].y_um) == (
        pytest.approx(150, abs=0.4),
        pytest.approx(120, abs=0.4),
    )
    assert ledger.finish() == []


def test_evidence_is_the_mean_of_three_views_and_the_surest_view_is_shown() -> None:
    ledger = CellLedger()
    for frame in range(5):
        entries, _ = look(ledger, window(), [(150, 120, 6)], frame)
    assert len(entries[0].views) == MOVING.views == 3
    assert entries[0].probabilities == pytest.approx([0.1, 0.9])
    assert entries[0].best_view.frame == 0


def test_cells_that_touch_stay_two() -> None:
    ledger = CellLedger()
    for frame in range(4):
        entries, _ = look(ledger, window(), [(150, 120, 5), (159, 120, 4)], frame)
    assert len({entry.id for entry in entries}) == 2
    assert [entry.counted for entry in entries] == [True, True]


def test_a_cell_at_the_border_waits_for_a_better_view() -> None:
    ledger = CellLedger()
    for frame in range(4):
        entries, counted = look(ledger, window(), [(5, 120, 6)], frame)
        assert (counted, entries[0].views, entries[0].problem) == ([], [], "edge")
    for frame in range(4, 8):
        again, _ = look(ledger, window(-40), [(6.5, 120, 6)], frame)
    assert again == entries
    assert entries[0].counted
    assert entries[0].x_um == pytest.approx(6.5)  # of the whole cell, not of the part


def test_a_cell_never_seen_whole_is_left_over() -> None:
    ledger = CellLedger()
    for frame in range(4):
        look(ledger, window(), [(5, 120, 6)], frame)
    assert ledger.finish() == []
    assert [entry.problem for entry in ledger.left_over()] == ["edge"]


def test_a_false_alarm_of_one_frame_is_not_counted() -> None:
    ledger = CellLedger()
    for frame in range(5):
        alarm = [(200, 200, 5)] if frame == 1 else []
        look(ledger, window(), [(150, 120, 6), *alarm], frame)
    assert ledger.finish() == []
    assert [entry.doubtful for entry in ledger.left_over()] == [True]


def test_a_cell_that_went_out_of_view_is_counted_from_what_was_seen() -> None:
    ledger = CellLedger()
    look(ledger, window(), [(150, 120, 6), (60, 60, 6)], 0)
    _, counted = look(ledger, window(), [(150, 120, 6), (60, 60, 6)], 1)
    assert counted == []
    _, counted = look(ledger, window(100), [(150, 120, 6)], 2)
    assert sorted(entry.x_um for entry in counted) == [60, 150]


def test_a_cell_seen_in_the_last_frame_only_is_counted_at_the_end() -> None:
    ledger = CellLedger()
    look(ledger, window(), [(150, 120, 6)])
    assert [entry.x_um for entry in ledger.finish()] == [150]


def test_an_object_wider_than_a_crop_is_one_entry() -> None:
    ledger, merged = CellLedger(), []
    pieces = [(140, 120, 7), (156, 122, 8)]
    for frame in range(3):
        look(ledger, window(), pieces, frame)
    for frame in range(3, 10):
        entries, _ = look(ledger, window(), [(148, 120, 20)], frame)
        assert len(entries) == 1
    for frame in range(10, 13):
        again, _ = look(ledger, window(), pieces, frame)
        merged += again
    assert {entry.id for entry in merged} == {entries[0].id}
    assert ledger.duplicates_refused == 1
    assert len(ledger.in_view(window())) == 1


def test_a_wide_cell_found_after_a_piece_of_it_is_counted_in_its_place() -> None:
    ledger = CellLedger()
    piece, wide, beside = (162, 120, 5), (148, 120, 20), (148, 148, 5)
    for frame in range(4):
        (gone, _), _ = look(ledger, window(), [piece, beside], frame)
    entries = []
    for frame in range(4, 9):
        entries, _ = look(ledger, window(), [piece, wide, beside], frame)
    assert entries[0] is entries[1]
    assert gone not in ledger.in_view(window())
    assert entries[1].radius_um > 15
    assert entries[1].stands_for == [gone.id]
    assert [entry.counted for entry in ledger.in_view(window())] == [True, True]
    assert ledger.duplicates_refused == 1


def test_a_counted_cell_goes_with_the_uncounted_entry_that_it_is_part_of() -> None:
    cell, piece, whole = (Entry(0, 0, 5, "", id=number) for number in range(3))
    cell.counted = True
    ledger, merged = CellLedger(), []
    for gone, into in ((cell, piece), (piece, whole)):
        merged.append(Merged(gone, into, gone.counted))
        into.take_over(gone, ledger.rules.views)
    assert duplicates(merged) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("middle_first", [True, False])
def test_what_lies_in_a_wide_cell_that_is_gone_itself_is_not_lost(middle_first: bool) -> None:
    ledger = CellLedger()
    small, middle, outer = (168, 120, 6), (158, 120, 14), (148, 120, 24)
    wide = [middle, outer] if middle_first else [outer, middle]
    for frame in range(3):
        look(ledger, window(), [small], frame)
    for frame in range(3, 9):
        look(ledger, window(), [*wide, small], frame)
    left = ledger.in_view(window())
    assert sorted(entry.radius_um > 12 for entry in left) == [False, True]
    assert all(entry.counted for entry in left)
    assert ledger.duplicates_refused == 0, "the small one was never taken back"


def test_what_was_only_ever_found_faintly_is_not_counted() -> None:
    for scores, expected in (([0.3] * 6, False), ([0.3, 0.3, 0.45, 0.3], True)):
        ledger = CellLedger()
        for score in scores:
            cell = DetectedCell(150 / UM, 120 / UM, 6 / UM, score)
            (entry,) = ledger.see(window(), [cell], lambda *_: "").entries
            if ledger.needs_name(entry):
                entry.views.append(View(0, 0, 0, np.ones(2, np.float32), 0.0))
            ledger.settle(window())
        ledger.finish()
        assert entry.counted == expected


def test_a_wide_object_of_one_frame_takes_nothing_in() -> None:
    ledger = CellLedger()
    for frame in range(6):
        small = [(162, 120, 5), (134, 120, 5)]
        look(ledger, window(), [*small, (148, 120, 20)] if frame == 3 else small, frame)
    counted = {entry.radius_um: entry.counted for entry in ledger.in_view(window())}
    assert counted == {5: True, 20: False}
    assert ledger.duplicates_refused == 0
    assert len(ledger.in_view(window())) == 3


def test_neighbours_taken_for_one_object_in_one_frame_stay_two() -> None:
    ledger = CellLedger()
    for frame in range(6):
        places = [(150, 120, 13)] if frame == 3 else [(145, 120, 5), (155, 120, 5)]
        look(ledger, window(), places, frame)
    assert [entry.counted for entry in ledger.in_view(window())] == [True, True]


def test_patches_that_are_joined_have_their_cells_once() -> None:
    ledger, places = CellLedger(), [(150.0, 120.0, 6.0), (200.0, 90.0, 5.0)]
    for frame in range(3):
        look(ledger, window(), places, frame)
    moved = [(x - 30, y - 20, r) for x, y, r in [*places, (250.0, 150.0, 6.0)]]
    for frame in range(3, 6):
        _, counted = look(ledger, window(patch=1), moved, frame)
    assert len(counted) == 3
    merges = ledger.join(Join(1, 0, 30.4, 19.8))
    assert [merge.taken_back for merge in merges] == [True, True]
    assert ledger.duplicates_refused == 2
    assert len(ledger.in_view(window())) == 3
    entries, counted = look(ledger, window(), [*places, (250, 150, 6)], 6)
    assert counted == []
    assert all(entry.counted for entry in entries)


def test_what_was_looked_at_in_a_joined_patch_is_known() -> None:
    looks = Looks()
    looks.add(1, (0, 0, 160, 160))
    looks.join(1, 0, 32.0, -16.0)
    assert not len(looks.fewer(0, (32, -16, 192, 144), 1))
    few = looks.fewer(0, (0, 0, 160, 144), 1)
    assert set(few[:, 0]) == {8.0, 24.0}
    assert (few[:, 1].min(), few[:, 1].max()) == (8.0, 136.0)
    assert looks.fewer(0, (3, 3, 9, 6), 1).tolist() == [[3, 3], [9, 6]]


def test_a_known_place_is_not_searched_again() -> None:
    ledger = CellLedger()
    wants = []
    for frame in range(5):
        wants.append(ledger.wanted(window()) is not None)
        look(ledger, window(), [(150, 120, 6)], frame)
    assert wants == [True, True, True, True, False]
    assert ledger.wanted(window(40)) is not None
    assert ledger.wanted(window(2)) is None


def test_separate_pictures_count_at_once() -> None:
    ledger = CellLedger(SEPARATE)
    for patch in range(3):
        _, counted = look(ledger, window(patch=patch), [(150, 120, 6)], patch)
        assert len(counted) == 1


def test_a_cell_that_is_often_missed_is_found_when_it_is_found_more_often() -> None:
    ledger = CellLedger(Rules(views=2))
    for frame in range(9):
        found = [] if frame in (1, 2) else [(150, 120, 6)]
        _, counted = look(ledger, window(), found, frame)
        assert bool(counted) == (frame == 5)  # found in four of six


def test_greedy_mutual_nearest_is_the_optimal_assignment_for_cells_apart() -> None:
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(15), np.arange(12)), -1).reshape(-1, 2) * 20.0
    for _ in range(20):
        there = grid + rng.uniform(-4, 4, grid.shape)
        seen = there + rng.normal(0, 1.2, there.shape)
        some = rng.permutation(len(seen))[: rng.integers(60, 180)]
        spots = [Spot(x, y, 5.0) for x, y in seen[some]]
        distances, gates = apart(spots, [Spot(x, y, 5.0) for x, y in there], 1.0)
        rows, columns = linear_sum_assignment(np.where(distances <= gates, distances, 1e6))
        optimal = {
            (r, c) for r, c in zip(rows, columns, strict=True) if distances[r, c] <= gates[r, c]
        }
        assert set(mutual_nearest(distances, gates)) == optimal
        assert len(optimal) > 50


def test_pairs_by_place_are_those_of_all_with_all_and_of_many_too() -> None:
    rng = np.random.default_rng(2)

    def spots(count: int, side_um: float) -> list[Spot]:
        return [
            Spot(x, y, r) for x, y, r in rng.uniform((0, 0, 3), (side_um, side_um, 9), (count, 3))
        ]

    some, others = spots(200, 250.0), spots(200, 250.0)
    places: Places[Spot] = Places()
    for spot in others:
        places.add(spot)
    pairs = {
        (some[row], others[column]) for row, column in mutual_nearest(*apart(some, others, 0.5))
    }
    assert set(same(some, places, 0.5)) == pairs
    assert len(pairs) > 30
    many: Places[Spot] = Places()
    for spot in spots(20_000, 6000.0):
        many.add(spot)
    started = time.monotonic()
    assert len(same(list(many), many, 0.0)) == 20_000
    assert time.monotonic() - started < 10


def test_no_pair_beyond_the_gate_and_nothing_to_pair() -> None:
    assert mutual_nearest(np.array([[3.0, 9.0]]), np.array([[2.0, 5.0]])) == []
    assert mutual_nearest(*apart([], [Spot(0, 0, 5)], 1.0)) == []


def test_places_find_what_lies_where() -> None:
    places: Places[Spot] = Places()
    rng = np.random.default_rng(2)
    spots = [Spot(*rng.uniform(-300, 300, 2), rng.uniform(3, 20)) for _ in range(500)]
    for spot in spots:
        places.add(spot)
    for spot in spots[::2]:
        places.move(spot, spot.x_um + 40, spot.y_um - 70)
    area = (-100.0, -50.0, 80.0, 120.0)
    inside = {id(s) for s in spots if area[0] <= s.x_um <= area[2] and area[1] <= s.y_um <= area[3]}
    assert {id(s) for s in places.within(*area)} == inside
    near = {id(s) for s in spots if np.hypot(s.x_um - 10, s.y_um - 20) < max(s.radius_um, 6)}
    assert {id(s) for s in places.covering(10, 20, 6)} == near
    places.remove(spots[0])
    with pytest.raises(KeyError):
        places.remove(spots[0])
    assert len(list(places)) == 499


def test_a_ledger_that_knows_counted_cells_counts_none_of_them_again() -> None:
    first, cells = CellLedger(), [(60.0, 60.0, 6.0), (120.0, 80.0, 7.0)]
    counted = [entry for k in range(4) for entry in look(first, window(), cells, k)[1]]
    assert len(counted) == 2
    again = CellLedger()
    again.ids = iter(range(100, 200))
    again.restore(counted)
    more = [*cells, (200.0, 150.0, 6.0)]
    new = [entry for k in range(4) for entry in look(again, window(), more, k)[1]]
    assert [(entry.id, entry.x_um) for entry in new] == [(100, 200.0)]


def test_cells_counted_again_in_a_new_patch_are_taken_back_when_it_is_joined() -> None:
    first, cells = CellLedger(), [(60.0, 60.0, 6.0), (120.0, 80.0, 7.0)]
    counted = [entry for k in range(4) for entry in look(first, window(), cells, k)[1]]
    again = CellLedger()
    again.ids = iter(range(100, 200))
    again.restore(counted)
    for k in range(4):
        look(again, window(-40.0, -40.0, patch=1), [(x - 40, y - 40, r) for x, y, r in cells], k)
    merged = again.join(Join(1, 0, 40.0, 40.0))
    assert [(merge.gone.id, merge.into.id, merge.taken_back) for merge in merged] == [
        (100, 0, True),
        (101, 1, True),
    ]
