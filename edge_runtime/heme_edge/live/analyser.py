"""One camera's frames become counted cells: search, enter in the ledger, name, count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from heme_edge.crops import Image, cut_crops
from heme_edge.draw import COUNTED, LEFT_OUT, NEW, UNSURE, ShownCell
from heme_edge.field_score import EMPTY, score_field
from heme_edge.ledger import SEPARATE, CellLedger, Entry, Merged, View, Window
from heme_edge.ledger.window import HALF_CROP_UM, Area
from heme_edge.live.pace import Pace
from heme_edge.live.part import Part
from heme_edge.live.slots import Placed
from heme_edge.nameable import Nameable
from heme_edge.naming import THICK, Namer, best_two
from heme_edge.results import CellName, DetectedCell
from heme_edge.stage import LOST
from heme_edge.tally import UNCERTAIN, Tally

NOTHING_NEW = "nothing-new"
NEARLY = 4
"""One cell in so many is named again while others have no name yet."""
STILL_UM = 0.25
"""A stage that moves less between two frames stands still."""

_Pair = tuple[DetectedCell, Entry]


@dataclass(frozen=True)
class CountedCell:
    """A cell as it was counted.

    Attributes:
        entry: of the ledger.
        name: from the mean of its views.
        reason: why it is not in the differential; empty where it is.
    """

    entry: Entry
    name: CellName
    reason: str


@dataclass(frozen=True)
class Analysed:
    """What became of one frame.

    Attributes:
        placed: the frame.
        cells: what it shows.
        counted: cells that are counted from this frame on.
        merged: entries that turned out to be one.
        not_used: why no cells were looked for in it; empty where they were.
        field: verdict of the newest frame that was scored.
    """

    placed: Placed
    cells: Sequence[ShownCell]
    counted: Sequence[CountedCell]
    merged: Sequence[Merged]
    not_used: str
    field: str


@dataclass
class Analyser:
    """Belongs to the thread that names.

    Attributes:
        namer: finds and names cells.
        ledger: of this camera's slide.
        tally: of all cameras.
        pace: how many cells are named of one frame; None: all.
        keep_crops: whether each view of a cell keeps its crop until the cell is counted.
        used, not_used: frames that cells were looked for in, and why not in the others.
        named: cells that were named, each time.
        left_over: at the end, cells that were never counted, by reason.
    """

    namer: Namer
    ledger: CellLedger
    tally: Tally
    pace: Pace | None = field(default_factory=Pace)
    keep_crops: bool = False
    used: int = 0
    not_used: Counter[str] = field(default_factory=Counter)
    named: int = 0
    left_over: Counter[str] = field(default_factory=Counter)
    _counted: dict[int, CountedCell] = field(default_factory=dict)
    _so_far: dict[int, CountedCell] = field(default_factory=dict)
    _window: Window | None = None
    _field: str = ""
    _beside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "search"))

    @property
    def cells_counted(self) -> int:
        """Cells that were counted and are no duplicates, those outside the differential too."""
        return len(self._counted)

    def analyse(self, placed: Placed) -> Analysed:
        """Looks at one frame."""
        merged = [merge for join in placed.joins for merge in self.ledger.join(join)]
        not_used = placed.not_used
        if not not_used:
            more, not_used = self._use(placed)
            merged += more
        for merge in merged:
            self._take_back(merge)
            self._so_far.pop(merge.gone.id, None)
        counted = self._count(self.ledger.settle(placed.window))
        if not_used:
            self.not_used[not_used] += 1
        else:
            self.used += 1
        return Analysed(placed, self._shown(placed), counted, merged, not_used, self._field)

    def finish(self) -> list[CountedCell]:
        """Counts what is left at the end; what was never seen whole is left out."""
        counted = self._count(self.ledger.finish())
        self.left_over = Counter(e.problem for e in self.ledger.left_over() if e.problem)
        self.tally.left_out.update(self.left_over)
        return counted

    def take_up(self, counted: Sequence[CountedCell], duplicates: int) -> None:
        """Goes on after what an earlier session counted.

        Args:
            counted: its cells, without duplicates.
            duplicates: how many of those it had.
        """
        self.ledger.restore([cell.entry for cell in counted])
        self.ledger.duplicates_refused = duplicates
        self._keep(counted)

    def _use(self, placed: Placed) -> tuple[list[Merged], str]:
        """Searches and names; returns merged entries, and why the frame was of no use."""
        merged: list[Merged] = []
        pairs: dict[int, _Pair] = {}
        start, area = time.perf_counter(), self.ledger.wanted(placed.window)
        if area is not None:
            merged, pairs = self._search(placed, area)
        pairs = self._known(placed) | pairs
        if area is None and not pairs:
            return [], NOTHING_NEW
        leaves = self._leaves(placed.window)

        def lacks(pair: _Pair) -> tuple[int, float]:
            return -len(pair[1].views), leaves(pair[1])

        chosen = sorted(pairs.values(), key=lacks)
        if self.pace is None:
            self._name(placed, chosen)
        else:
            found = time.perf_counter()
            chosen = _first(chosen, self.pace.cells(found - start))
            self._name(placed, chosen)
            self.pace.named(len(chosen), time.perf_counter() - found)
        return merged, ""

    def _leaves(self, window: Window) -> Callable[[Entry], float]:
        """Tells how soon an entry goes out of view if the stage moves on as it does now."""
        before, self._window = self._window or window, window
        left, top, right, bottom = window.area()
        x = window.placement.x_um - before.placement.x_um
        y = window.placement.y_um - before.placement.y_um
        if before.patch != window.patch or abs(x) + abs(y) < STILL_UM:
            return lambda _: 0.0

        def soon(entry: Entry) -> float:
            across = (entry.x_um - left if x > 0 else right - entry.x_um) / max(abs(x), STILL_UM)
            down = (entry.y_um - top if y > 0 else bottom - entry.y_um) / max(abs(y), STILL_UM)
            return min(across, down)

        return soon

    def _search(self, placed: Placed, area: Area) -> tuple[list[Merged], dict[int, _Pair]]:
        """Enters what an area shows.

        Returns:
            merged entries; cells (px of the frame) that another view is of use for, and their
            entries, by its number.
        """
        part = Part.of(placed.frame, placed.window, area)
        window, separate = part.window, self.ledger.rules == SEPARATE
        looking = self._beside.submit(self.namer.detector.look, part.image, window.um_per_px)
        score = score_field(
            part.image,
            window.um_per_px,
            glass=part.glass,
            thick=lambda: looking.result().thicker_than(THICK),
            nuclei=False,
        )
        cells = [cell for cell in looking.result().cells if part.tells_of(cell)]
        if part.is_whole or score.verdict != EMPTY:  # a part without cells says nothing of the rest
            self._field = score.verdict
        can = Nameable.of(part.image, score, 0.0 if separate else HALF_CROP_UM / window.um_per_px)
        seen = self.ledger.see(window, cells, can.problem)
        pairs: dict[int, _Pair] = {}
        for cell, entry in zip(cells, seen.entries, strict=True):
            nameable = not can.problem(cell.x_px, cell.y_px, cell.radius_px)
            if nameable and self.ledger.needs_name(entry):
                pairs.setdefault(entry.id, (part.in_frame(cell), entry))
        return seen.merged, pairs

    def _known(self, placed: Placed) -> dict[int, _Pair]:
        """Cells that need not be found again to be named, where the ledger has them."""
        window, known = placed.window, self.ledger.nameless(placed.window)
        if not known:
            return {}
        can = Nameable.of(placed.frame.image, None, HALF_CROP_UM / window.um_per_px)
        there = {entry.id: (window.pixel(entry), entry) for entry in known}
        return {
            number: (DetectedCell(*circle, 1.0, entry.kind), entry)
            for number, (circle, entry) in there.items()
            if not can.problem(*circle)
        }

    def _name(self, placed: Placed, chosen: Sequence[_Pair]) -> None:
        cells = [cell for cell, _ in chosen]
        image, um_per_px = placed.frame.image, placed.window.um_per_px
        said = self.namer.infer_cells(image, cells, um_per_px)
        self.named += len(cells)
        crops: Sequence[Image | None] = [None] * len(cells)
        if self.keep_crops:
            crops = list(cut_crops(image, cells, um_per_px))
        for (cell, entry), probabilities, disagreement, crop in zip(
            chosen, *said, crops, strict=True
        ):
            place = (placed.frame.index, cell.x_px, cell.y_px)
            entry.views.append(View(*place, probabilities, float(disagreement), crop))
            self._so_far[entry.id] = self._named(entry)

    def _named(self, entry: Entry) -> CountedCell:
        """The name that an entry has so far; it must have a view."""
        row, codes = entry.probabilities[None], self.namer.bundle.codes
        name = best_two(row, np.array([entry.disagreement], np.float32), codes)[0]
        return CountedCell(entry, name, self.namer.reason(name, entry.kind))

    def _count(self, entries: Sequence[Entry]) -> list[CountedCell]:
        counted = [self._named(entry) for entry in entries]
        self._keep(counted)
        return counted

    def _keep(self, counted: Sequence[CountedCell]) -> None:
        for cell in counted:
            self._counted[cell.entry.id] = cell
            self._so_far.pop(cell.entry.id, None)
            self.tally.add_one(cell.name.code, cell.reason)

    def _take_back(self, merge: Merged) -> None:
        """A cell that was counted twice is counted once."""
        if merge.taken_back:
            cell = self._counted.pop(merge.gone.id)
            self.tally.take_back(cell.name.code, cell.reason)

    def _shown(self, placed: Placed) -> list[ShownCell]:
        if placed.window.placement.state == LOST:
            return []
        return [self._show(entry, placed.window) for entry in self.ledger.in_view(placed.window)]

    def _show(self, entry: Entry, window: Window) -> ShownCell:
        """An entry in a frame: where it lies, and what is known of it."""
        x_px, y_px, radius_px = window.pixel(entry)
        cell = self._counted.get(entry.id)
        state = NEW
        if cell is not None:
            state = {"": COUNTED, UNCERTAIN: UNSURE}.get(cell.reason, LEFT_OUT)
        else:
            cell = self._so_far.get(entry.id)
        return ShownCell(x_px, y_px, radius_px, cell.name if cell else None, state)


def _first(pairs: list[_Pair], count: int) -> list[_Pair]:
    """So many of the cells that can be named, those that lack least coming first.

    A quarter are those, so that cells are counted soon; the others are those that have no name
    yet, before which no other is named again: the stage may jump.
    """
    named = [pair for pair in pairs if pair[1].views]
    nearly = named[: count // NEARLY]
    nameless = [pair for pair in pairs if not pair[1].views]
    return [*nearly, *nameless, *named[len(nearly) :]][:count]
