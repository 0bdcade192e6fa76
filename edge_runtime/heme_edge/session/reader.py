"""Reading an open session: what is in it now."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heme_edge.session import reading
from heme_edge.session.rows import (
    CellSummary,
    FrameRow,
    KeyframeRow,
    LogEntry,
    Settings,
    Signature,
)
from heme_edge.session.schema import SessionError, damaged
from heme_edge.session.state import State
from heme_edge.tally import Tally


class SessionReader:
    """An open session; every method may be called from any thread.

    What another process commits meanwhile is seen by the next call.

    Args:
        folder: where it is.
        db: its file, open.
        lock: a descriptor that is held while it is open for writing; None for reading.

    Attributes:
        folder: where it is.
        settings: what it was begun with.

    Raises:
        SessionError: its settings or its log cannot be understood.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, lock: int | None) -> None:
        self.folder = folder
        self._db, self._lock = db, lock
        self._busy = threading.RLock()
        self._state = State()
        try:
            reading.prepare(db)
            self.settings: Settings = reading.settings(db)
            with self._snapshot():
                pass
        except BaseException:
            db.close()
            raise

    def cells(
        self, *, code: str | None = None, reason: str | None = None,
        order: str = "least-certain", limit: int | None = None, offset: int = 0,
    ) -> list[CellSummary]:  # fmt: skip
        """Cells as they are now, without duplicates.

        Args:
            code: only those of a class, the corrected one where there is one.
            reason: only those that are left out for it; empty: only those counted.
            order: ``least-certain`` (what a person named comes last), ``newest`` or ``id``.
            limit, offset: which of them; None: all.
        """
        asked = {"now_code": code, "now_reason": reason}
        given = {column: value for column, value in asked.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        tail = f"{reading.ORDERS[order]} LIMIT ? OFFSET ?"
        values = [*given.values(), -1 if limit is None else limit, offset]
        with self._snapshot():
            return reading.cells(self._db, self._state, where, values, tail)

    def cell(self, cell_id: int) -> CellSummary:
        """One cell.

        Raises:
            SessionError: there is no such cell, or it is a duplicate of another.
        """
        with self._snapshot():
            if cell_id in self._state.gone:
                of = self._state.now(cell_id)
                raise SessionError(f"Cell {cell_id} is the same cell as {of}.")
            found = reading.cells(self._db, self._state, "id = ?", [cell_id], "id")
        if not found:
            raise reading.no_such_cell(cell_id)
        return found[0]

    def probabilities(self, cell_id: int) -> NDArray[np.float32]:
        """What the model said of a cell, float32 ``[C]`` in the order of ``settings.codes``.

        Raises:
            SessionError: there is no such cell.
        """
        with self._snapshot():
            return reading.probabilities(self._db, cell_id, len(self.settings.classes))

    def crop(self, cell_id: int) -> bytes:
        """The JPEG (96x96 px) of a cell; empty where it could not be kept.

        Raises:
            SessionError: what is there is damaged.
        """
        with self._snapshot():
            return reading.crop(self._db, cell_id)

    def frames(self) -> list[FrameRow]:
        """The frames that were looked at, in the place they have now."""
        with self._snapshot():
            return reading.frames(self._db, self._state)

    def keyframes(self, source_id: int) -> list[KeyframeRow]:
        """The map of a source's stage, as it was last written."""
        with self._snapshot():
            return reading.keyframes(self._db, source_id)

    def newest(self, source_id: int) -> tuple[int, int]:
        """The highest number of a cell of all sources, and of a patch of one; -1: there is none."""
        with self._snapshot():
            return reading.newest(self._db, self._state, source_id)

    def duplicates(self, source_id: int) -> int:
        """How many cells of a source turned out to be one with another."""
        with self._snapshot():
            query = "SELECT count(*) FROM cells JOIN temp.gone USING (id) WHERE source_id = ?"
            return int(self._db.execute(query, (source_id,)).fetchone()[0])

    def tally(self) -> Tally:
        """The differential as it is now, corrections and duplicates applied.

        Classes that only a person named come after those of the bundle.
        """
        with self._snapshot():
            return reading.tally(self._db, self._state, self.settings)

    def log(self, after: int = 0) -> list[LogEntry]:
        """Entries of the log after a number."""
        with self._snapshot():
            return list(reading.log(self._db, after))

    def signed(self) -> Signature | None:
        """The sign-off, where one holds."""
        with self._snapshot():
            return self._state.signature

    @property
    def runs(self) -> int:
        """How often the session was begun or gone on with."""
        with self._snapshot():
            return self._state.runs

    @property
    def ended(self) -> bool:
        """Whether it came to its end, and nothing was counted since."""
        with self._snapshot():
            return self._state.ended

    def close(self) -> None:
        """Closes the file and lets others write; may be called twice."""
        with self._busy:
            with suppress(sqlite3.Error):
                self._db.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the file for several queries; what is new in the log is taken in."""
        with self._busy:
            if self._db.in_transaction:
                yield
                return
            try:
                self._db.execute("BEGIN")
                self._follow()
                yield
            except sqlite3.Error as error:
                raise damaged(self.folder, error) from error
            finally:
                with suppress(sqlite3.Error):
                    self._db.execute("COMMIT")

    def _follow(self) -> None:
        new = list(reading.log(self._db, self._state.seq))
        for entry in new:
            try:
                self._state.take(entry)
            except (KeyError, TypeError, ValueError) as error:
                raise reading.damaged_entry(entry.seq, error) from error
        if new:
            reading.refresh(self._db, self._state)
