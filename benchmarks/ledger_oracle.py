"""The ledger by itself: each frame of a tour in turn, whatever time it takes.

    python -m benchmarks.ledger_oracle --tours 0-9 --crops CROPS
    python -m benchmarks.ledger_oracle --tours 0-9 --crops CROPS --detector --every 2

The first feeds it what is really there, on every frame in focus; the second what our own detector
finds in the frames that live would search, and compares with the detector's recall in those fields.
``--placed`` takes the stage's true place instead of the tracked one. One JSON line for each tour.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.ledger_score import Line, Row, View, cell_of, read_lines, score, sharp, well_inside

from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.detect import open_detector
from heme_edge.frames.base import Frame
from heme_edge.ledger import CellLedger, Entry, Merged, Window
from heme_edge.ledger import View as NamedView
from heme_edge.live.part import Part
from heme_edge.results import DetectedCell
from heme_edge.sim.camera import axes
from heme_edge.sim.slide import Smear
from heme_edge.sim.stage import SimulatedStage
from heme_edge.sim.tours import TOUR_VIEW_PX, TOURS, tour_slide
from heme_edge.sim.truth import TruthFile
from heme_edge.stage import LOST, TRACKING, Placement, StageTracker

UM_PER_PX, MARGIN_UM = 0.25, 12.0
Finds = Callable[[Image, Line], list[DetectedCell]]


@dataclass
class PerField:
    """What a detector does in single fields.

    Attributes:
        shown, found: cells well inside, and those of them that it found.
        cells, alarms: its cells well inside, and those of them that are none.
    """

    shown: int = 0
    found: int = 0
    cells: int = 0
    alarms: int = 0

    def add(self, frame: Line, cells: list[DetectedCell], view: View) -> None:
        """One field."""
        hit = {cell_of(frame, c.x_px, c.y_px, view.um_per_px) for c in cells}
        inside = {cell["id"] for cell in well_inside(frame, view)}
        self.shown += len(inside)
        self.found += len(inside & hit)
        own: Line = {"cells": [{"x_px": c.x_px, "y_px": c.y_px} for c in cells]}
        for cell in well_inside(own, view):
            self.cells += 1
            self.alarms += cell_of(frame, cell["x_px"], cell["y_px"], view.um_per_px) is None


@dataclass
class Book:
    """A ledger, and the rows that it counted."""

    ledger: CellLedger = field(default_factory=CellLedger)
    rows: dict[int, Row] = field(default_factory=dict)

    def count(self, entries: list[Entry]) -> None:
        """Rows of counted entries."""
        for entry in entries:
            view = entry.best_view
            self.rows[entry.id] = Row(view.frame, view.x_px, view.y_px)

    def take_back(self, merged: list[Merged]) -> None:
        """Rows of duplicates."""
        for merge in merged:
            if merge.taken_back:
                del self.rows[merge.gone.id]

    def see(self, part: Part, cells: list[DetectedCell], frame: Window) -> None:
        """Cells of a part of a frame."""
        window = part.window
        seen = self.ledger.see(window, cells, lambda x, y, r: _problem(window, x, y, r))
        self.take_back(seen.merged)
        for cell, entry in zip(cells, seen.entries, strict=True):
            whole = not _problem(window, cell.x_px, cell.y_px, cell.radius_px)
            if whole and self.ledger.needs_name(entry):
                one = np.ones(1, np.float32)
                there = part.in_frame(cell)
                entry.views.append(NamedView(part.frame, there.x_px, there.y_px, one, 0.0))
        self.count(self.ledger.settle(frame))


def _problem(window: Window, x_px: float, y_px: float, radius_px: float) -> str:
    margin = max(MARGIN_UM / window.um_per_px, radius_px) - 0.5
    sides = x_px, y_px, window.width_px - 1 - x_px, window.height_px - 1 - y_px
    return "edge" if min(sides) < margin else ""


def _truly(stage: SimulatedStage, number: int) -> Placement:
    """The stage's true place, along the camera's axes."""
    pose = stage.pose(number)
    x_um, y_um = axes(pose.angle_deg) @ np.array((pose.x_um, pose.y_um))
    return Placement(float(x_um), float(y_um), 0, 1.0, TRACKING, 0.0)


def run_tour(
    stage: SimulatedStage, truth: dict[int, Line], finds: Finds, asked: argparse.Namespace
) -> dict[str, Any]:
    """Feeds a ledger the frames of a tour, and scores it."""
    book, tracker, view = Book(), StageTracker(UM_PER_PX), View(*TOUR_VIEW_PX, UM_PER_PX)
    fields, searched, searched_share = PerField(), 0, 0.0
    for number in sorted(truth):
        image = stage.render(number)
        placement = _truly(stage, number)
        if not asked.placed:
            placement, joins = tracker.place(image, number / 30)
            for join in joins:
                book.take_back(book.ledger.join(join))
        window = Window(placement, *TOUR_VIEW_PX, UM_PER_PX)
        if number % asked.every or not sharp(truth[number]) or placement.state == LOST:
            continue
        area = book.ledger.wanted(window) if asked.detector else window.area()
        if area is not None:
            part = Part.of(Frame(image, number, 0.0), window, area)
            cells = finds(part.image, truth[number])
            fields.add(truth[number], cells if part.is_whole else finds(image, truth[number]), view)
            book.see(part, [cell for cell in cells if part.tells_of(cell)], window)
            searched += 1
            searched_share += part.image.size / image.size
    book.count(book.ledger.finish())
    scored = score(truth, list(book.rows.values()), view)
    return scored | {
        "frames": len(truth),
        "searched": searched,
        "searched_share": round(searched_share / max(1, searched), 3),
        "recall_per_field": round(fields.found / max(1, fields.shown), 4),
        "no_cell_per_field": round(fields.alarms / max(1, fields.cells), 4),
        "duplicates_refused": book.ledger.duplicates_refused,
    }


def _known(cells: list[Line], noise_um: float) -> Finds:
    """A detector that knows the truth."""
    radius = {cell["cell"]: cell["radius_um"] for cell in cells}
    rng = np.random.default_rng(0)

    def finds(_image: Image, frame: Line) -> list[DetectedCell]:
        off = rng.normal(0, noise_um / UM_PER_PX, (len(frame["cells"]), 2))
        return [
            DetectedCell(c["x_px"] + dx, c["y_px"] + dy, radius[c["id"]] / UM_PER_PX, 1.0)
            for c, (dx, dy) in zip(frame["cells"], off, strict=True)
        ]

    return finds


def truth_of(stage: SimulatedStage) -> list[Line]:
    """Lines of the truth file for every frame of the tour."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.jsonl"
        file = TruthFile(path, stage.smear.cells, TOUR_VIEW_PX, UM_PER_PX)
        for number in range(stage.path.frames or 0):
            file.frame(number, stage.pose(number))
        file.close()
        return read_lines(path)


def _tour(number: int, asked: argparse.Namespace, slide: Smear) -> dict[str, Any]:
    stage = SimulatedStage(seed=asked.seed, view=TOUR_VIEW_PX, smear=slide, tour=TOURS[number])
    lines = truth_of(stage)
    finds = _known([line for line in lines if "cell" in line], asked.noise_um)
    if asked.detector:
        finds = _searched()
    truth = {line["frame"]: line for line in lines if "frame" in line}
    return {"tour": TOURS[number].name} | run_tour(stage, truth, finds, asked)


def _searched() -> Finds:
    detector = open_detector(bundle=load_bundle(None))
    return lambda image, _frame: detector.find(image, UM_PER_PX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tours", default=f"0-{len(TOURS) - 1}", help="for example 3 or 0-9")
    parser.add_argument("--crops", type=Path, help="class folders of real crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise-um", type=float, default=0.3, help="of the known places")
    parser.add_argument("--detector", action="store_true", help="our own instead of the truth")
    parser.add_argument("--every", type=int, default=1, help="each so-many-th frame is searched")
    parser.add_argument("--placed", action="store_true", help="true places, no tracker")
    asked = parser.parse_args()
    first, _, last = asked.tours.partition("-")
    slide = tour_slide(asked.seed, asked.crops)
    for number in range(int(first), int(last or first) + 1):
        print(json.dumps(_tour(number, asked, slide)), flush=True)


if __name__ == "__main__":
    main()
