"""The cell ledger: detections of one physical cell over many frames are one entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from heme_edge.ledger.entry import STEADY, Entry, is_piece
from heme_edge.ledger.looks import TILE_UM, Looks
from heme_edge.ledger.matching import Spot, apart, mutual_nearest, same
from heme_edge.ledger.parts import inside, part_around
from heme_edge.ledger.places import BOX_UM, Places
from heme_edge.ledger.rules import MOVING, SEPARATE, Rules
from heme_edge.ledger.window import HALF_CROP_UM, Area, Window
from heme_edge.results import DetectedCell
from heme_edge.stage import Join

SAME_SHARE = 0.75
"""A detection that is no entry's, but lies within this share of the larger radius of one, is a
part of that cell, or two cells taken for one: no new cell."""
MOST_LOOKS = 12
"""A cell that was looked at so often and is not settled is waited for no longer."""

LOOKED_UM = HALF_CROP_UM + TILE_UM / 2
"""A tile whose middle lies so far inside was looked at: no cell in it is cut by a border."""

Problem = Callable[[float, float, float], str]
"""Why a cell (centre and radius in px of a frame) cannot be named there; empty when it can."""


@dataclass(frozen=True)
class Merged:
    """Two entries turned out to be one cell.

    Attributes:
        gone, into: the entry that is no more, and what it is now part of.
        taken_back: whether what is gone had been counted, and is to be taken back: the cell is
            counted by its other entry, or will be.
    """

    gone: Entry
    into: Entry
    taken_back: bool


@dataclass(frozen=True)
class Seen:
    """What became of the detections of one frame.

    Attributes:
        entries: of each detection, in their order.
        merged: entries that were found to be parts of one wide cell.
    """

    entries: list[Entry]
    merged: list[Merged]


class CellLedger:
    """The cells of one slide under one camera; belongs to one thread.

    Args:
        rules: when an entry is counted.

    Attributes:
        ids: numbers of new entries; cameras of one session share them.
        duplicates_refused: cells that had been counted twice, and are counted once now.
    """

    def __init__(self, rules: Rules = MOVING) -> None:
        self.rules = rules
        self.duplicates_refused = 0
        self._places: dict[int, Places[Entry]] = {}
        self._looks = Looks()
        self._done: tuple[int, Area] | None = None
        self._open: dict[int, Entry] = {}
        self.ids: Iterator[int] = count()

    def restore(self, counted: Iterable[Entry]) -> None:
        """Enters cells that an earlier session counted, so that none is counted again."""
        for entry in counted:
            entry.counted, entry.seen, entry.chances = True, STEADY, STEADY
            self._places.setdefault(entry.patch, Places()).add(entry)

    def in_view(self, window: Window) -> list[Entry]:
        """Entries whose centre a frame shows."""
        return self._near(window, 0.0)

    def wanted(self, window: Window) -> Area | None:
        """What of a frame should be searched: a new area, and entries that are not known yet.

        Returns:
            the rectangle around it, and what is needed of the picture around that; where that is
            most of the frame, as when the stage moves aslant or has jumped, one half or one side,
            and what was passed over so has its turn in the next call; None: nothing.
        """
        new = self._looks.fewer(window.patch, window.area(LOOKED_UM), self.rules.looks)
        unknown = [
            entry
            for entry in self._unsettled(window)
            if entry.seen < self.rules.looks and entry.looks < MOST_LOOKS
        ]
        places = np.vstack([new, *(corner for entry in unknown for corner in _extent(entry))])
        if not len(places):
            return None
        if self.rules == SEPARATE:
            return window.area()
        left, top, right, bottom = window.area()
        places = np.clip(places, (left, top), (right, bottom))
        before, self._done = self._done, None
        if before is not None and before[0] == window.patch:
            rest = places[~inside(places, before[1])]
            if len(rest):
                return part_around(rest, window.area())[0]
        part, done = part_around(places, window.area())
        if not inside(places, done).all():
            self._done = window.patch, done
        return part

    def nameless(self, window: Window) -> list[Entry]:
        """Entries that a frame shows whole, whose place is known, and that lack a named view."""
        return [
            entry
            for entry in self._unsettled(window)
            if entry.seen >= self.rules.looks and not entry.problem and self.needs_name(entry)
            if self._is_sure(entry)
        ]

    def _is_sure(self, entry: Entry) -> bool:
        return not entry.doubtful and entry.score >= self.rules.score

    def _unsettled(self, window: Window) -> Iterator[Entry]:
        for entry in self._near(window, HALF_CROP_UM):
            # What was never seen whole is not doubtful: a part's border may have cut it.
            waits = entry.id in self._open and (entry.problem or not entry.doubtful)
            if waits and window.shows_whole(entry):
                yield entry

    def see(self, window: Window, cells: Sequence[DetectedCell], problem: Problem) -> Seen:
        """Enters what was found in one frame.

        Args:
            window: where the frame lies.
            cells: all that were found in it, px of the frame.
            problem: tells why a cell cannot be named in it.
        """
        spots = [_spot(window, cell, problem) for cell in cells]
        known = self._near(window, -BOX_UM)
        pairs = mutual_nearest(*apart(spots, known, window.placement.quality))
        entries = {row: known[column] for row, column in pairs}
        cut = {entries[row] for row, spot in enumerate(spots) if row in entries and spot.problem}
        self._look(window, known, problem, cut)
        for row, spot in enumerate(spots):
            if row in entries:
                self._take(entries[row], spot)
            else:
                entries[row] = self._part_of(window.patch, spot) or self._enter(window.patch, spot)
        wide = [e for e in set(entries.values()) if e.radius_um > HALF_CROP_UM and not e.problem]
        merged: list[Merged] = []
        now: dict[Entry, Entry] = {}
        for entry in sorted(wide, key=lambda entry: -entry.radius_um):
            if entry not in now:  # the widest first: what it took in takes in nothing itself
                merged += self._absorb(entry)
                now = {merge.gone: merge.into for merge in merged}
        return Seen([_last(now, entries[row]) for row in range(len(spots))], merged)

    def needs_name(self, entry: Entry) -> bool:
        """Whether another named view of an entry is of use."""
        return not entry.counted and len(entry.views) < self.rules.views

    def settle(self, window: Window) -> list[Entry]:
        """Counts the entries that are known well enough, also those that went out of view.

        Returns:
            the entries that are counted from now on.
        """
        ready = []
        for entry in self._open.values():
            gone = entry.patch != window.patch or not window.shows(entry)
            named = len(entry.views) >= (1 if gone else self.rules.views)
            if named and entry.seen >= self.rules.sightings and self._is_sure(entry):
                ready.append(entry)
        return self._count(ready)

    def finish(self) -> list[Entry]:
        """At the end, counts what is left: named, and sure."""
        return self._count([e for e in self._open.values() if e.views and self._is_sure(e)])

    def left_over(self) -> list[Entry]:
        """Entries that were never counted."""
        return list(self._open.values())

    def join(self, join: Join) -> list[Merged]:
        """Moves the entries of a patch into another, and merges those that are one cell."""
        self._looks.join(join.patch, join.into, join.dx_um, join.dy_um)
        moved = list(self._places.pop(join.patch, ()))
        target = self._places.setdefault(join.into, Places())
        for entry in moved:
            entry.patch = join.into
            entry.x_um, entry.y_um = entry.x_um + join.dx_um, entry.y_um + join.dy_um
        pairs = same(moved, target, 0.0)
        for entry in moved:
            target.add(entry)
        return [self._merge(one, other) for one, other in pairs]

    def _near(self, window: Window, margin_um: float) -> list[Entry]:
        places = self._places.get(window.patch)
        return [] if places is None else places.within(*window.area(margin_um))

    def _look(
        self, window: Window, known: Iterable[Entry], problem: Problem, cut: set[Entry]
    ) -> None:
        """Takes note that a frame was searched; what it should show had a chance to be found.

        What was found, if not whole, was not missed.
        """
        self._looks.add(window.patch, window.area(LOOKED_UM))
        for entry in known:
            if window.shows_whole(entry):
                entry.looks += 1
                entry.chances += entry not in cut and not problem(*window.pixel(entry))

    def _take(self, entry: Entry, spot: Spot) -> None:
        self._places[entry.patch].move(entry, *entry.place_after(spot))
        if not spot.problem:
            entry.seen += 1
            entry.chances = max(entry.chances, entry.seen)

    def _enter(self, patch: int, spot: Spot) -> Entry:
        entry = Entry(**vars(spot), id=next(self.ids), patch=patch)
        entry.looks = entry.chances = entry.seen = int(not spot.problem)
        self._open[entry.id] = entry
        self._places.setdefault(patch, Places()).add(entry)
        return entry

    def _part_of(self, patch: int, spot: Spot) -> Entry | None:
        """The entry that a detection without one is part of, or that is part of it."""
        places = self._places.get(patch)
        near = places.covering(spot.x_um, spot.y_um, spot.radius_um) if places else []
        near = [
            e
            for e in near
            if _distance(e, spot) < SAME_SHARE * max(e.radius_um, spot.radius_um)
            and not is_piece(e, spot)
        ]
        return min(near, key=lambda entry: _distance(entry, spot), default=None)

    def _absorb(self, wide: Entry) -> list[Merged]:
        """What lies inside an object wider than a crop is part of it.

        An entry is as wide as the mean of its sightings, and must have been seen as often as one
        that is counted, so one frame in which neighbours were taken for one does not join them.
        """
        if wide.seen < self.rules.sightings:
            return []
        places = self._places[wide.patch]
        inside = places.covering(wide.x_um, wide.y_um, SAME_SHARE * wide.radius_um)
        return [
            self._moved_into(wide, entry)
            for entry in inside
            if entry is not wide
            and entry.radius_um < wide.radius_um
            and _distance(entry, wide) < SAME_SHARE * wide.radius_um
        ]

    def _merge(self, one: Entry, other: Entry) -> Merged:
        """The counted one stays, else the other."""
        if one.counted and not other.counted:
            one, other = other, one
        return self._moved_into(other, one)

    def _moved_into(self, into: Entry, gone: Entry) -> Merged:
        self.duplicates_refused += gone.counted
        into.take_over(gone, self.rules.views)
        self._places[gone.patch].remove(gone)
        self._open.pop(gone.id, None)
        return Merged(gone, into, gone.counted)

    def _count(self, ready: list[Entry]) -> list[Entry]:
        for entry in ready:
            entry.counted = True
            del self._open[entry.id]
        return ready


def _spot(window: Window, cell: DetectedCell, problem: Problem) -> Spot:
    x_um, y_um = window.place_um(cell.x_px, cell.y_px)
    why = problem(cell.x_px, cell.y_px, cell.radius_px)
    return Spot(x_um, y_um, cell.radius_px * window.um_per_px, why, cell.kind, cell.score)


def _extent(entry: Entry) -> list[tuple[float, float]]:
    """Its centre; of an object wider than a crop the corners of what it fills."""
    x, y, r = entry.x_um, entry.y_um, entry.radius_um
    return [(x, y)] if r <= HALF_CROP_UM else [(x - r, y - r), (x + r, y + r)]


def _distance(one: Spot, other: Spot) -> float:
    return math.hypot(one.x_um - other.x_um, one.y_um - other.y_um)


def _last(now: dict[Entry, Entry], entry: Entry) -> Entry:
    """What an entry is part of after all merges."""
    while entry in now:
        entry = now[entry]
    return entry
