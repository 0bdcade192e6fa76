"""The session store: a folder with one SQLite file, which is only ever added to."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import cell_class
from heme_edge.session import adding, reading
from heme_edge.session.rows import (
    CORRECT,
    END,
    REOPEN,
    RESUMED,
    SIGN,
    UNDO,
    Batch,
    CellSummary,
    FrameRow,
    KeyframeRow,
    LogEntry,
    Settings,
    Signature,
)
from heme_edge.session.schema import (
    FILE,
    SessionError,
    connect,
    create_file,
    refuse_existing,
    session_file,
)
from heme_edge.session.state import State
from heme_edge.tally import Tally

MOST_INITIALS = 20


class Session:
    """An open session; every method may be called from any thread.

    One process at most has it open for writing; others read it meanwhile, and see what was
    committed. Rows are never changed: what persons do, and what turns out to be a duplicate,
    stands in the log, which is added to and never changed either.

    Use ``create`` or ``open``. A method that writes raises ``SessionError`` where the session was
    opened for reading, and ``sqlite3.Error`` where the disk does not take it; then nothing of it
    is there.

    Attributes:
        folder: where it is.
        settings: what it was begun with.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, lock: int | None) -> None:
        self.folder = folder
        self._db, self._lock = db, lock
        self._busy = threading.RLock()
        self._state = State()
        reading.prepare(db)
        self.settings: Settings = reading.settings(db)
        with self._snapshot():
            pass

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> Session:
        """Makes a session in a folder, which is made where it is missing; opened for writing.

        Raises:
            SessionError: the folder holds a session already, or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_existing(folder)
            with _locking(folder) as lock:
                create_file(folder / FILE, settings)
                return cls(folder, connect(folder / FILE, write=True), lock)
        except (OSError, sqlite3.Error) as error:
            raise SessionError(f"No session can be made in '{folder}' ({error}).") from error

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Session:
        """Opens a session, by default for reading only.

        Raises:
            SessionError: there is none, it is damaged or newer than this program, or another
                process has it open for writing and ``write`` is asked for.
        """
        path = session_file(folder)
        try:
            if not write:
                return cls(folder, connect(path, write=False), None)
            with _locking(folder) as lock:
                return cls(folder, connect(path, write=True), lock)
        except sqlite3.Error as error:
            raise SessionError(
                f"The session in '{folder}' is damaged ({error}).", f"heme-edge verify {folder}"
            ) from error

    def add(self, batch: Batch) -> LogEntry | None:
        """Adds frames, cells, duplicates, joins and maps in one transaction.

        Returns:
            the entry of the log that vouches for the rows; None where there are none.
        """
        with self._writing() as now:
            return adding.batch(self._db, batch, now)

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

    def correct(self, cell_id: int, code: str, *, by: str = "") -> LogEntry:
        """Gives a cell the name that a person sees.

        Args:
            cell_id: of the cell.
            code: any class of the vocabulary, also one that the bundle does not name.
            by: who, as the caller says.

        Raises:
            SessionError: no such cell, a duplicate, or the session is signed.
            HemeError: no such class.
        """
        code = cell_class(code).code
        with self._busy:
            self.cell(cell_id)
            self._refuse_signed()
            return self._append(CORRECT, {"cell": cell_id, "code": code, "by": by})

    def undo(self, *, by: str = "") -> LogEntry | None:
        """Undoes the newest correction that is not undone; None where there is none.

        Raises:
            SessionError: the session is signed.
        """
        with self._busy, self._snapshot():
            self._refuse_signed()
            newest = self._state.active[-1] if self._state.active else None
        if newest is None:
            return None
        seq, cell, code = newest
        return self._append(UNDO, {"of": seq, "cell": cell, "code": code, "by": by})

    def sign(self, initials: str) -> LogEntry:
        """Signs the differential as it is now, which stands in the entry.

        Until ``reopen`` corrections are refused; a cell that is counted later makes the
        signature void by itself.

        Raises:
            SessionError: no initials, or it is signed already.
        """
        initials = initials.strip()
        if not initials.isprintable() or not 0 < len(initials) <= MOST_INITIALS:
            raise SessionError(f"Initials are 1 to {MOST_INITIALS} letters.")
        with self._busy:
            self._refuse_signed()
            return self._append(SIGN, {"initials": initials, "differential": self._differential()})

    def reopen(self, *, by: str = "") -> LogEntry:
        """Takes the signature back, so that corrections are possible again.

        Raises:
            SessionError: it is not signed.
        """
        with self._busy:
            if self.signed() is None:
                raise SessionError("The session is not signed.")
            return self._append(REOPEN, {"by": by})

    def end(self, left_over: dict[str, int]) -> LogEntry:
        """Notes that the run came to its end, with the differential.

        Args:
            left_over: cells that were seen and never counted, by reason.
        """
        with self._busy:
            tally = self.tally()
            for reason, count in left_over.items():
                tally.left_out[reason] += count - self._state.left_over.get(reason, 0)
            return self._append(END, {"left_over": left_over, "differential": tally.record()})

    def resume(self, about: dict[str, Any]) -> LogEntry:
        """Notes that the session is gone on with; what is added from now on is a new run."""
        return self._append(RESUMED, about)

    def close(self) -> None:
        """Closes the file and lets others write; may be called twice."""
        with self._busy:
            with suppress(sqlite3.Error):
                self._db.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _differential(self) -> dict[str, Any]:
        return self.tally().record()

    def _refuse_signed(self) -> None:
        signature = self.signed()
        if signature is not None:
            raise SessionError(
                f"The session is signed by {signature.initials}.", "Take the signature back first"
            )

    def _append(self, kind: str, body: dict[str, Any]) -> LogEntry:
        with self._writing() as now:
            return adding.append(self._db, kind, body, now)

    @contextmanager
    def _writing(self) -> Iterator[float]:
        """A transaction that writes; gives the time."""
        if self._lock is None:
            raise SessionError("The session is open for reading only.")
        with self._busy:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield time.time()
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled it back by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state of the file for several queries; what is new in the log is taken in."""
        with self._busy:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN")
            try:
                self._follow()
                yield
            finally:
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


@contextmanager
def _locking(folder: Path) -> Iterator[int]:
    """Locks a folder for writing; let go when the body fails, else when the number is closed.

    The lock ends with the process, however that ends.

    Raises:
        SessionError: another process holds it.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        os.close(lock)
        raise SessionError(
            f"Another program is writing the session in '{folder}'.", "End it first"
        ) from None
    except BaseException:
        os.close(lock)
        raise
