"""Is every cell in the ledger once? From the truth of the simulated stage and the lines of live.

    heme-edge live --camera sim --sim-tour 3 --sim-truth truth.jsonl --headless > live.jsonl
    python -m benchmarks.ledger_score truth.jsonl live.jsonl

Eligible is a cell that at least three frames show with its centre 12 µm inside and a blur of at
most 0.5 µm; its share is of the cells that any frame shows so far inside. A row of the ledger is
the cell of the truth that lies within 4 µm of where the row says that its view saw it. Prints one
JSON line. `benchmarks/ledger_oracle.py` scores the ledger by itself.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INSIDE_UM, LEAST_FRAMES, MOST_BLUR_UM, MATCH_UM = 12.0, 3, 0.5, 4.0
Line = dict[str, Any]


@dataclass(frozen=True)
class View:
    """Size of the frames in px, and their scale."""

    width_px: int
    height_px: int
    um_per_px: float


@dataclass(frozen=True)
class Row:
    """A counted cell: the frame it was seen in, and where in it."""

    frame: int
    x_px: float
    y_px: float


def sharp(frame: Line) -> bool:
    """Whether cells in a frame of the truth can be expected to be found."""
    return float(frame["blur_um"]) <= MOST_BLUR_UM if "blur_um" in frame else bool(frame["sharp"])


def well_inside(frame: Line, view: View) -> list[Line]:
    """Cells of a frame of the truth whose centre lies 12 µm inside."""
    margin = INSIDE_UM / view.um_per_px
    return [
        cell
        for cell in frame["cells"]
        if margin <= cell["x_px"] <= view.width_px - 1 - margin
        and margin <= cell["y_px"] <= view.height_px - 1 - margin
    ]


def eligible(frames: Iterable[Line], view: View) -> set[int]:
    """Cells that could have been counted."""
    shown = Counter(c["id"] for frame in frames if sharp(frame) for c in well_inside(frame, view))
    return {cell for cell, times in shown.items() if times >= LEAST_FRAMES}


def cell_of(frame: Line, x_px: float, y_px: float, um_per_px: float) -> int | None:
    """The cell of the truth that lies nearest in a frame, within 4 µm; or None."""
    if not frame["cells"]:
        return None
    places: NDArray[np.float64] = np.array([(c["x_px"], c["y_px"]) for c in frame["cells"]])
    distances = np.hypot(places[:, 0] - x_px, places[:, 1] - y_px) * um_per_px
    nearest = int(np.argmin(distances))
    return int(frame["cells"][nearest]["id"]) if distances[nearest] <= MATCH_UM else None


def score(frames: dict[int, Line], rows: Sequence[Row], view: View) -> dict[str, Any]:
    """Shares of eligible cells that are in the ledger once, twice or not, and of false rows.

    Args:
        frames: of the truth, by number.
        rows: of the ledger.
        view: of the frames.
    """
    found = [cell_of(frames[row.frame], row.x_px, row.y_px, view.um_per_px) for row in rows]
    times = Counter(cell for cell in found if cell is not None)
    wanted = eligible(frames.values(), view)
    inside = {cell["id"] for frame in frames.values() for cell in well_inside(frame, view)}
    count = max(1, len(wanted))
    return {
        "well_inside": len(inside),
        "eligible": len(wanted),
        "eligible_share": round(len(wanted) / max(1, len(inside)), 4),
        "rows": len(rows),
        "once": round(sum(times[cell] == 1 for cell in wanted) / count, 4),
        "twice": round(sum(times[cell] > 1 for cell in wanted) / count, 4),
        "missed": round(sum(times[cell] == 0 for cell in wanted) / count, 4),
        "no_cell": round(found.count(None) / max(1, len(rows)), 4),
    }


def read_lines(path: Path) -> list[Line]:
    """The lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truth_frames(path: Path) -> dict[int, Line]:
    """The frames of a truth file by number."""
    return {line["frame"]: line for line in read_lines(path) if "frame" in line}


def ledger_rows(lines: Iterable[Line], source: int) -> list[Row]:
    """Cells that live counted, without those that it took back as duplicates."""
    rows: dict[int, Row] = {}
    for line in lines:
        if line.get("source_id", 0) != source:
            continue
        if "cell" in line:
            cell = line["cell"]
            rows[cell["id"]] = Row(cell["frame"], cell["x_px"], cell["y_px"])
        elif "duplicate" in line:
            del rows[line["duplicate"]["id"]]
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path)
    parser.add_argument("live", type=Path)
    parser.add_argument("--source", type=int, default=0, help="of several cameras")
    asked = parser.parse_args()
    lines = read_lines(asked.live)
    summary = lines[-1]["summary"]
    one = summary["sources"][asked.source] if "sources" in summary else summary
    view = View(one["width_px"], one["height_px"], one["um_per_px"])
    scored = score(truth_frames(asked.truth), ledger_rows(lines, asked.source), view)
    said = ("frames_captured", "frames_analysed", "frames_used", "duplicates_refused")
    print(json.dumps(scored | {key: one[key] for key in said}))


if __name__ == "__main__":
    main()
