"""The session store: a folder with one SQLite file, which is only ever added to."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from heme_edge.cells import cell_class
from heme_edge.session import adding
from heme_edge.session.locking import locking
from heme_edge.session.reader import SessionReader
from heme_edge.session.rows import (
    CORRECT,
    END,
    REOPEN,
    RESUMED,
    SIGN,
    UNDO,
    Batch,
    LogEntry,
    Settings,
)
from heme_edge.session.schema import (
    FILE,
    SessionError,
    cannot_write,
    connect,
    create_file,
    damaged,
    refuse_existing,
    session_file,
)

MOST_INITIALS = 20


class Session(SessionReader):
    """An open session; every method may be called from any thread.

    One process at most has it open for writing; others read it meanwhile, and see what was
    committed. Rows are never changed: what persons do, and what turns out to be a duplicate,
    stands in the log, which is added to and never changed either.

    Use ``create`` or ``open``. A method that writes raises ``SessionError`` where the session was
    opened for reading, or the disk does not take it; then nothing of it is there.
    """

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> Session:
        """Makes a session in a folder, which is made where it is missing; opened for writing.

        Raises:
            SessionError: the folder holds a session already, or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_existing(folder)
            with locking(folder) as lock:
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
            with locking(folder) as lock:
                return cls(folder, connect(path, write=True), lock)
        except sqlite3.Error as error:
            raise damaged(folder, error) from error

    def add(self, batch: Batch) -> LogEntry | None:
        """Adds frames, cells, duplicates, joins and maps in one transaction.

        Returns:
            the entry of the log that vouches for the rows; None where there are none.
        """
        with self._writing() as now:
            return adding.batch(self._db, batch, now)

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
        with self._busy:
            self._refuse_signed()
            if not self._state.active:
                return None
            seq, cell, code = self._state.active[-1]
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
            differential = self.tally().record()
            return self._append(SIGN, {"initials": initials, "differential": differential})

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
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield time.time()
                self._db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # SQLite may have rolled it back by itself
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise cannot_write(error) from error
                raise
