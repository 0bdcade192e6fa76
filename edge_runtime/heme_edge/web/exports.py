"""What can be kept of a session: cells and differential as CSV, all of it as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.outputs import DIFFERENTIAL_HEADER
from heme_edge.session import CellSummary
from heme_edge.tally import UNCERTAIN
from heme_edge.web.desk import Desk
from heme_edge.web.figures import figures
from heme_edge.web.views import entry_record

CELLS_HEADER = (
    "id", "source_id", "frame", "x_px", "y_px", "radius_um", "patch", "slide_x_um", "slide_y_um",
    "code", "named", "probability", "disagreement", "corrected", "counted", "reason",
)  # fmt: skip


def cells_csv(desk: Desk) -> bytes:
    """Every cell as it is now: ``code`` with corrections, ``named`` what the model said."""
    rows = (_cell_row(cell) for cell in desk.session.cells(order="id"))
    return _table(CELLS_HEADER, rows)


def _cell_row(cell: CellSummary) -> list[Any]:
    known = {**asdict(cell), "counted": str(not cell.reason).lower()}
    known |= {"corrected": str(cell.corrected).lower(), "probability": f"{cell.probability:.4f}"}
    known |= {"disagreement": f"{cell.disagreement:.4f}"}
    for name in ("x_px", "y_px", "radius_um", "slide_x_um", "slide_y_um"):
        known[name] = "" if known[name] is None else f"{known[name]:.2f}"
    return [known[name] for name in CELLS_HEADER]


def differential_csv(desk: Desk) -> bytes:
    """As ``differential.csv`` of ``classify``."""
    tally = desk.session.tally()
    rows: list[list[Any]] = [
        [r.code, r.name, r.count, f"{r.percent:.2f}", f"{r.low95:.2f}", f"{r.high95:.2f}"]
        for r in tally.rows()
    ]
    rows.append([UNCERTAIN, "", tally.left_out[UNCERTAIN], "", "", ""])
    return _table(DIFFERENTIAL_HEADER, rows)


def session_json(desk: Desk) -> bytes:
    """Settings, differential, signature and the whole log; without cells."""
    session = desk.session
    signature = session.signed()
    told = {
        "notice": RESEARCH_USE_ONLY,
        "settings": asdict(session.settings),
        "figures": figures(session.tally(), desk.goal),
        "signed": signature and asdict(signature),
        "log": [entry_record(entry) for entry in session.log()],
    }
    return json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


FILES: dict[str, tuple[str, Callable[[Desk], bytes]]] = {
    "cells.csv": ("text/csv", cells_csv),
    "differential.csv": ("text/csv", differential_csv),
    "session.json": ("application/json", session_json),
}
"""Name of an export: its type, and what makes it."""
