"""Queries of a session file; what is read is checked, since nobody says who wrote it."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import cell_class
from heme_edge.session.rows import (
    CellSummary,
    FrameRow,
    KeyframeRow,
    LogEntry,
    SessionClass,
    Settings,
    Source,
)
from heme_edge.session.schema import SessionError
from heme_edge.session.state import State, reason_of_corrected
from heme_edge.tally import Tally

MOST_CROP_BYTES = 65_536
MOST_KEYFRAME_PX = 1024
"""Longest side of a keyframe; the stage's map has 480 px at most."""
ORDERS = {
    "least-certain": "corrected, probability, id",
    "newest": "time DESC, id DESC",
    "id": "id",
}
"""Orders of cells; of the first, those that a person named come last."""

NOW = """
CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE named (id INTEGER PRIMARY KEY, code TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TEMP VIEW now AS
SELECT c.*, coalesce(n.code, c.code) AS now_code, coalesce(n.reason, c.reason) AS now_reason,
  n.id IS NOT NULL AS corrected
FROM main.cells c LEFT JOIN temp.named n ON n.id = c.id
WHERE c.id NOT IN (SELECT id FROM temp.gone);
"""
"""Cells as they are now, beside the file, which is never written by a reader."""


def prepare(db: sqlite3.Connection) -> None:
    """Makes the view of the cells as they are now."""
    db.executescript(NOW)


def refresh(db: sqlite3.Connection, state: State) -> None:
    """Makes that view follow the log."""
    db.execute("DELETE FROM temp.gone")
    db.execute("DELETE FROM temp.named")
    db.executemany("INSERT INTO temp.gone VALUES (?)", [(cell,) for cell in state.gone])
    rows = [(cell, code, reason_of_corrected(code)) for cell, code in state.corrected().items()]
    db.executemany("INSERT INTO temp.named VALUES (?,?,?)", rows)


def settings(db: sqlite3.Connection) -> Settings:
    """What the session was begun with.

    Raises:
        SessionError: it cannot be understood.
    """
    try:
        found = {key: json.loads(text) for key, text in db.execute("SELECT * FROM settings")}
        found["classes"] = tuple(SessionClass(**one) for one in found["classes"])
        found["sources"] = tuple(Source(**one) for one in found["sources"])
        found["accepted_losses"] = tuple(found["accepted_losses"])
        return Settings(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise SessionError(f"The session's settings are damaged ({error}).") from error


def log(db: sqlite3.Connection, after: int) -> Iterator[LogEntry]:
    """Entries of the log after one.

    Raises:
        SessionError: an entry cannot be understood.
    """
    query = "SELECT seq, time, kind, body, previous, sha256 FROM log WHERE seq > ? ORDER BY seq"
    for seq, time, kind, body, previous, sha256 in db.execute(query, (after,)):
        try:
            yield LogEntry(seq, time, kind, dict(json.loads(body)), previous, sha256)
        except (ValueError, TypeError) as error:
            raise damaged_entry(seq, error) from error


def damaged_entry(seq: int, error: Exception) -> SessionError:
    """The sentence for an entry of the log that cannot be understood."""
    return SessionError(
        f"Entry {seq} of the session's log is damaged ({error}).", "heme-edge verify SESSION"
    )


def cells(
    db: sqlite3.Connection, state: State, where: str, values: list[Any], tail: str
) -> list[CellSummary]:
    """Cells as they are now.

    Args:
        db: the file.
        state: of the log.
        where, values: a condition on the view ``now``.
        tail: order and limit.
    """
    query = f"""SELECT id, source_id, run, frame, x_px, y_px, radius_um, patch, slide_x_um,
        slide_y_um, now_code, code, reason, probability, disagreement, now_reason, corrected,
        kind, views, time, entry FROM temp.now WHERE {where} ORDER BY {tail}"""
    return [_summary(state, row) for row in db.execute(query, values)]


def _summary(state: State, row: tuple[Any, ...]) -> CellSummary:
    entry, source_id = row[-1], row[1]
    place = state.place(entry, source_id, *row[7:10])
    values = (*row[:7], *place, *row[10:16], bool(row[16]), *row[17:20])
    return CellSummary(*values)


def crop(db: sqlite3.Connection, cell_id: int) -> bytes:
    """The JPEG of a cell; empty where it could not be kept.

    Raises:
        SessionError: what is there is no JPEG of a crop.
    """
    query = "SELECT length(jpeg), jpeg FROM crops WHERE id = ?"
    size, jpeg = db.execute(query, (cell_id,)).fetchone() or (0, b"")
    if size and (not isinstance(jpeg, bytes) or size > MOST_CROP_BYTES or jpeg[:2] != b"\xff\xd8"):
        raise SessionError(f"The crop of cell {cell_id} is damaged.", "heme-edge verify SESSION")
    return bytes(jpeg)


def probabilities(db: sqlite3.Connection, cell_id: int, classes: int) -> NDArray[np.float32]:
    """What the model said of a cell, float32 ``[C]``.

    Raises:
        SessionError: there is no such cell, or not so many numbers.
    """
    found = db.execute("SELECT probabilities FROM cells WHERE id = ?", (cell_id,)).fetchone()
    if found is None:
        raise no_such_cell(cell_id)
    return as_probabilities(cell_id, found[0], classes)


def as_probabilities(cell_id: int, data: Any, classes: int) -> NDArray[np.float32]:
    """The numbers of a blob; see ``probabilities``."""
    if not isinstance(data, bytes) or len(data) != 4 * classes:
        raise SessionError(f"The probabilities of cell {cell_id} are damaged.")
    return np.frombuffer(data, "<f4").astype(np.float32)


def no_such_cell(cell_id: int) -> SessionError:
    """The sentence for a number that is no cell's."""
    return SessionError(f"There is no cell {cell_id} in the session.")


def frames(db: sqlite3.Connection, state: State) -> list[FrameRow]:
    """All frames, in their order and in the place they have now."""
    query = """SELECT entry, source_id, frame, time, patch, x_um, y_um, width_um, height_um,
        not_used, cells, name, run FROM frames ORDER BY run, source_id, frame"""
    found = []
    for entry, source_id, frame, time, patch, x_um, y_um, *rest in db.execute(query):
        place = state.place(entry, source_id, patch, x_um, y_um)
        found.append(FrameRow(source_id, frame, time, *place, *rest))
    return found


def tally(db: sqlite3.Connection, state: State, said: Settings) -> Tally:
    """The differential as it is now."""
    query = "SELECT now_code, now_reason, corrected, count(*) FROM temp.now GROUP BY 1, 2, 3"
    names = {one.code: one.name for one in said.classes}
    counts = Tally(names)
    for code, reason, corrected, count in db.execute(query):
        if corrected:
            names.setdefault(code, cell_class(code).name)
        counts.add_one(code, reason, count)
    counts.left_out.update(state.left_over)
    return counts


def newest(db: sqlite3.Connection, state: State, source_id: int) -> tuple[int, int]:
    """The highest number of a cell of all sources, and of a patch of one; -1: there is none.

    A duplicate may be one with a cell that was not counted before a run was killed: it has no row,
    but its number is taken.
    """
    (cell,) = db.execute("SELECT coalesce(max(id), -1) FROM cells").fetchone()
    cell = max([cell, *state.gone.values()])
    query = """SELECT coalesce(max(patch), -1) FROM (SELECT source_id, patch FROM cells
        UNION ALL SELECT source_id, patch FROM frames
        UNION ALL SELECT source_id, patch FROM keyframes) WHERE source_id = ?"""
    (patch,) = db.execute(query, (source_id,)).fetchone()
    return cell, max([patch, *(p for source, p in state.joined() if source == source_id)])


def keyframes(db: sqlite3.Connection, source_id: int) -> list[KeyframeRow]:
    """The map of a source as it was last written; a picture that is damaged is left out."""
    query = """SELECT patch, x, y, sharp, height, width, levels FROM keyframes
        WHERE source_id = ? ORDER BY position"""
    found = []
    for patch, x, y, sharp, height, width, data in db.execute(query, (source_id,)):
        levels = _levels(data, height, width)
        if levels is not None:
            found.append(KeyframeRow(source_id, patch, x, y, bool(sharp), levels))
    return found


def _levels(data: bytes, height: int, width: int) -> NDArray[np.int8] | None:
    if not 0 < height <= MOST_KEYFRAME_PX or not 0 < width <= MOST_KEYFRAME_PX:
        return None
    try:
        raw = zlib.decompressobj().decompress(data, height * width + 1)
    except (zlib.error, TypeError):
        return None
    fits = len(raw) == height * width
    return np.frombuffer(raw, np.int8).reshape(height, width) if fits else None
