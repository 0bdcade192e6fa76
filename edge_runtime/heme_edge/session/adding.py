"""Statements that add to a session file; each within the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from heme_edge.session.chain import START, Value, body_text, digest, entry_digest
from heme_edge.session.rows import (
    COUNTED,
    CREATED,
    MAP,
    Batch,
    CellRow,
    FrameRow,
    KeyframeRow,
    LogEntry,
    Settings,
)

Row = tuple[Value, ...]
MAP_ROWS = """SELECT position, picture, patch, x, y, sharp, height, width, sha256
FROM keyframes WHERE source_id = ? ORDER BY position, picture"""
"""What the log vouches for of a map; the pictures by their SHA-256."""


def append(db: sqlite3.Connection, kind: str, body: dict[str, Any], time: float) -> LogEntry:
    """Adds an entry to the log, chained to the newest one."""
    newest = db.execute("SELECT seq, sha256 FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    before, previous = newest or (0, START)
    seq, text = before + 1, body_text(body)
    sha256 = entry_digest(seq, time, kind, text, previous)
    db.execute("INSERT INTO log VALUES (?,?,?,?,?,?)", (seq, time, kind, text, previous, sha256))
    return LogEntry(seq, time, kind, json.loads(text), previous, sha256)


def settings(db: sqlite3.Connection, content: Settings, time: float) -> LogEntry:
    """Writes the settings, and the first entry of the log, which vouches for them."""
    rows = sorted((key, _json(value)) for key, value in asdict(content).items())
    db.executemany("INSERT INTO settings VALUES (?,?)", rows)
    return append(db, CREATED, {"settings": vouched(rows)}, time)


def batch(db: sqlite3.Connection, new: Batch, time: float) -> LogEntry | None:
    """Writes a batch, and the entry that vouches for its rows; None for an empty one."""
    for source_id, keyframes in new.maps.items():
        _map(db, source_id, keyframes, time)
    if not (new.frames or new.cells or new.duplicates or new.joins):
        return None
    tables = _rows_of(new)
    said = {name: vouched(rows) for name, rows in tables.items()}
    changes = {"duplicates": new.duplicates, "joins": new.joins}
    entry = append(db, COUNTED, {**said, **changes}, time)
    for name, rows in tables.items():
        _insert(db, name, [(*row, entry.seq) for row in rows])
    return entry


def _insert(db: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        marks = ",".join("?" * len(rows[0]))
        db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def vouched(rows: Sequence[Sequence[Value]]) -> dict[str, Any]:
    """What the log says of rows of one table: how many, and their SHA-256."""
    return {"rows": len(rows), "sha256": digest(rows)}


def _rows_of(new: Batch) -> dict[str, list[Row]]:
    """Rows by table, in the order of their keys, as SQLite gives them back."""
    frames = [_frame(row) for row in new.frames]
    cells = sorted(new.cells, key=lambda cell: cell.id)
    return {
        "frames": sorted(frames, key=lambda row: row[:3]),
        "cells": [_cell(cell) for cell in cells],
        "crops": [(cell.id, cell.crop) for cell in cells if cell.crop],
    }


def _frame(row: FrameRow) -> tuple[Any, ...]:
    place = (float(row.x_um), float(row.y_um), float(row.width_um), float(row.height_um))
    numbers = (int(row.run), int(row.source_id), int(row.frame))
    return (*numbers, float(row.time), int(row.patch), *place, row.not_used, row.cells, row.name)


def _cell(cell: CellRow) -> Row:
    radius = None if cell.radius_um is None else float(cell.radius_um)
    return (
        int(cell.id), int(cell.run), int(cell.source_id), int(cell.frame), float(cell.x_px),
        float(cell.y_px), radius, int(cell.patch), float(cell.slide_x_um), float(cell.slide_y_um),
        cell.code, float(cell.probability),
        np.ascontiguousarray(cell.probabilities, "<f4").tobytes(), float(cell.disagreement),
        cell.reason, cell.kind, int(cell.views), float(cell.time),
    )  # fmt: skip


def _map(
    db: sqlite3.Connection, source_id: int, keyframes: Sequence[KeyframeRow], time: float
) -> None:
    """Makes the map of a source what it is now; pictures that are there already stay."""
    now = {hashlib.sha256(key.levels.tobytes()).hexdigest(): key for key in keyframes}
    query = "SELECT picture FROM keyframes WHERE source_id = ?"
    there = {picture for (picture,) in db.execute(query, (source_id,))}
    gone = [(source_id, picture) for picture in there - now.keys()]
    db.executemany("DELETE FROM keyframes WHERE source_id = ? AND picture = ?", gone)
    for position, (picture, key) in enumerate(now.items()):
        place = (position, int(key.patch), float(key.x), float(key.y))
        if picture in there:
            db.execute(
                "UPDATE keyframes SET position = ?, patch = ?, x = ?, y = ? "
                "WHERE source_id = ? AND picture = ?",
                (*place, source_id, picture),
            )
        else:
            _add_keyframe(db, (source_id, picture, *place), key)
    found = db.execute(MAP_ROWS, (source_id,)).fetchall()
    append(db, MAP, {"source_id": source_id, "keyframes": vouched(found)}, time)


def _add_keyframe(db: sqlite3.Connection, place: Row, key: KeyframeRow) -> None:
    levels = zlib.compress(key.levels.tobytes(), 1)
    sha256 = hashlib.sha256(levels).hexdigest()
    row = (*place, int(key.sharp), *key.levels.shape, sha256, levels)
    _insert(db, "keyframes", [row])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
