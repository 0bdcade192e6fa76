"""A session's rows as the page's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from heme_edge.session import CellSummary, FrameRow, LogEntry, Session
from heme_edge.session.rows import (
    CORRECT,
    CREATED,
    END,
    REOPEN,
    RESUMED,
    SIGN,
    UNDO,
)
from heme_edge.web.clock import clock
from heme_edge.web.requests import RequestError

GRID_UM = 40.0
"""Frames of the map whose corners lie in one square of this size are shown once."""
Box = tuple[float, float, float, float]


def cells(session: Session, code: str, reason: str, limit: int) -> dict[str, Any]:
    """Cells, least certain first; ``more`` says whether there are more than ``limit``."""
    found = session.cells(code=code or None, reason=reason or None, limit=limit + 1)
    return {"cells": [_cell(one) for one in found[:limit]], "more": len(found) > limit}


def _cell(one: CellSummary) -> dict[str, Any]:
    return {
        "id": one.id, "code": one.code, "named": one.named, "reason": one.reason,
        "probability": round(one.probability, 4), "corrected": one.corrected,
    }  # fmt: skip


def cell(session: Session, cell_id: int) -> dict[str, Any]:
    """One cell, and what the model said of every class, likeliest first.

    Raises:
        SessionError: there is no such cell.
    """
    said = zip(session.settings.codes, session.probabilities(cell_id).tolist(), strict=True)
    likeliest = sorted(said, key=lambda pair: -pair[1])
    return {
        **_cell(session.cell(cell_id)),
        "probabilities": [(code, round(p, 4)) for code, p in likeliest],
    }


def crop(session: Session, cell_id: int) -> bytes:
    """The JPEG of a cell.

    Raises:
        RequestError: there is none.
        SessionError: it is damaged.
    """
    jpeg = session.crop(cell_id)
    if not jpeg:
        raise RequestError(f"There is no picture of cell {cell_id}.", 404)
    return jpeg


def scanned(session: Session) -> dict[str, Any]:
    """Frames and cells by patch, the patches with most cells first; µm of the patch.

    A frame is its left, top, width and height; a cell its place, its code, and whether it counts.
    """
    frames: dict[tuple[int, int], dict[tuple[int, int], Box]] = {}
    for frame in session.frames():
        places = frames.setdefault((frame.source_id, frame.patch), {})
        places[_square(frame)] = (frame.x_um, frame.y_um, frame.width_um, frame.height_um)
    found: dict[tuple[int, int], list[tuple[float, float, str, bool]]] = {key: [] for key in frames}
    for one in session.cells(order="id"):
        place = round(one.slide_x_um, 1), round(one.slide_y_um, 1)
        found.setdefault((one.source_id, one.patch), []).append(
            (*place, one.code, not one.reason)
        )  # fmt: skip
    order = sorted(found, key=lambda key: -len(found[key]))
    return {
        "patches": [_patch(key, list(frames.get(key, {}).values()), found[key]) for key in order]
    }


def _square(frame: FrameRow) -> tuple[int, int]:
    return round(frame.x_um / GRID_UM), round(frame.y_um / GRID_UM)


def _patch(
    key: tuple[int, int], frames: Sequence[Box], cells: Sequence[tuple[float, float, str, bool]]
) -> dict[str, Any]:
    xs = [x for x, _, width, _ in frames for x in (x, x + width)] + [one[0] for one in cells]
    ys = [y for _, y, _, height in frames for y in (y, y + height)] + [one[1] for one in cells]
    area = (min(xs), min(ys), max(xs), max(ys)) if xs else (0.0, 0.0, 0.0, 0.0)
    name = f"camera {key[0]}, patch {key[1]}"
    return {"name": name, "area": area, "frames": frames, "cells": cells}


def log(entries: Sequence[LogEntry]) -> dict[str, Any]:
    """Entries of the log, newest first, for people."""
    return {
        "entries": [
            {"seq": entry.seq, "time": clock(entry.time), "words": _words(entry)}
            for entry in reversed(entries)
        ]
    }


def entry_record(entry: LogEntry) -> dict[str, Any]:
    """An entry as JSON, whole."""
    return asdict(entry)


def _words(entry: LogEntry) -> str:
    body = entry.body
    if entry.kind == CORRECT:
        return f"cell {body['cell']} re-classified as {body['code']}"
    if entry.kind == UNDO:
        return f"undone: cell {body['cell']} as {body['code']}"
    if entry.kind == SIGN:
        return f"signed {body['initials']}"
    return {
        CREATED: "session begun", END: "counting ended", RESUMED: "session gone on with",
        REOPEN: "signature taken back",
    }.get(entry.kind, entry.kind)  # fmt: skip
