"""The differential once more, from rows and log alone, by another way than the session's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heme_edge.cells import cell_class
from heme_edge.session import reading
from heme_edge.session.rows import END, SIGN, LogEntry, Settings
from heme_edge.session.schema import damaged, open_file
from heme_edge.session.state import State, reason_of_corrected
from heme_edge.tally import Tally

CellLine = tuple[int, str, str, int]
"""Id, code and reason of a cell as it was counted, and its entry of the log."""


@dataclass(frozen=True)
class Replayed:
    """What rows and log say.

    Attributes:
        settings: of the session.
        tally: the differential now.
        state: of the log at its end.
        cells: cells that are no duplicates.
        stored: the newest differential that stands in the log itself, at an end or a sign-off,
            and the number of its entry; None where there is none.
    """

    settings: Settings
    tally: Tally
    state: State
    cells: int
    stored: tuple[int, dict[str, Any]] | None

    def record(self) -> dict[str, Any]:
        """For JSON; ``differential`` is as in the summary of ``live``."""
        return {
            "differential": self.tally.record(),
            "cells": self.cells,
            "duplicates": len(self.state.gone),
            "corrections": len(self.state.active),
            "signed": self.state.signature.initials if self.state.signature else None,
            "stored": self._stored(),
            "notice": self.settings.notice,
        }

    def _stored(self) -> dict[str, Any] | None:
        if self.stored is None:
            return None
        seq, differential = self.stored
        return {"entry": seq, "same": differential == self.tally.record()}


def replay(folder: Path) -> Replayed:
    """Recomputes the differential of a session.

    Raises:
        SessionError: there is no session, or its rows or log cannot be understood.
    """
    db = open_file(folder)
    try:
        db.execute("BEGIN")
        said = reading.settings(db)
        lines, entries = cell_lines(db), list(reading.log(db, 0))
    except sqlite3.Error as error:
        raise damaged(folder, error) from error
    finally:
        db.close()
    state = follow(entries)
    stored = [(e.seq, dict(e.body["differential"])) for e in entries if e.kind in (SIGN, END)]
    cells = sum(line[0] not in state.gone for line in lines)
    return Replayed(said, recount(lines, state, said), state, cells, stored[-1] if stored else None)


def cell_lines(db: sqlite3.Connection) -> list[CellLine]:
    """Every cell as it was counted."""
    return db.execute("SELECT id, code, reason, entry FROM cells ORDER BY id").fetchall()


def follow(entries: Iterable[LogEntry]) -> State:
    """The state after these entries.

    Raises:
        SessionError: one of them cannot be understood.
    """
    state = State()
    for entry in entries:
        try:
            state.take(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise reading.damaged_entry(entry.seq, error) from error
    return state


def recount(lines: Sequence[CellLine], state: State, said: Settings) -> Tally:
    """The differential of cells in a state of the log; those of later entries are left out."""
    names = {one.code: one.name for one in said.classes}
    tally, corrected = Tally(names), state.corrected()
    for cell, code, reason, entry in lines:
        if entry > state.seq or cell in state.gone:
            continue
        if cell in corrected:
            code = corrected[cell]
            reason = reason_of_corrected(code)
            names.setdefault(code, cell_class(code).name)
        tally.add_one(code, reason)
    tally.left_out.update(state.left_over)
    return tally
