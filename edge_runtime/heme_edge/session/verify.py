"""Whether a session is what was written: each row, each entry of the log, and what they add up to.

The log is a chain of SHA-256, and each entry that counted cells vouches for their rows. That shows
accidents and careless edits. Who forges can compute the chain anew: nothing here is a seal.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from heme_edge.errors import HemeError
from heme_edge.session import reading
from heme_edge.session.adding import MAP_ROWS, vouched
from heme_edge.session.chain import START, canonical, entry_digest
from heme_edge.session.replay import cell_lines, recount
from heme_edge.session.rows import COUNTED, CREATED, END, MAP, SIGN, LogEntry, Problem
from heme_edge.session.schema import BY_ENTRY, SessionError, open_file
from heme_edge.session.state import State

LIMITS = "This shows accidents and careless edits, not a forger."
KEYS = {"frames": "run, source_id, frame", "cells": "id", "crops": "id"}


def verify(folder: Path) -> list[Problem]:
    """What is wrong with a session; empty where it is sound.

    Raises:
        SessionError: there is no session in the folder.
    """
    try:
        db = open_file(folder)
    except SessionError as error:
        if error.missing:
            raise
        return [Problem("session.db", error.message)]
    db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        db.execute("BEGIN")
        return list(_problems(db))
    except (sqlite3.Error, UnicodeError) as error:
        return [Problem("session.db", f"cannot be read to its end ({error})")]
    finally:
        db.close()


def _problems(db: sqlite3.Connection) -> Iterator[Problem]:
    for (said,) in db.execute("PRAGMA integrity_check"):
        if said != "ok":
            yield Problem("session.db", said)
    yield from _log_problems(db)
    entries = _readable(db)
    yield from _settings_problems(db, entries)
    for table in BY_ENTRY:
        yield from _row_problems(db, table, entries)
    yield from _map_problems(db, entries)
    yield from _count_problems(db, entries)


def _log_problems(db: sqlite3.Connection) -> Iterator[Problem]:
    """Gaps, changed entries, and a log that ends before what was its end."""
    last, before = 0, START
    for seq, time, kind, body, previous, sha256 in db.execute("SELECT * FROM log ORDER BY seq"):
        if seq != last + 1:
            yield Problem(f"log {seq}", f"entries {last + 1} to {seq - 1} are missing")
        elif previous != before:
            yield Problem(f"log {seq}", "does not follow on the entry before it")
        if entry_digest(seq, time, kind, body, previous) != sha256:
            yield Problem(f"log {seq}", "was changed")
        last, before = seq, sha256
    written = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchall()
    if written != [(last,)]:
        yield Problem("log", f"ends at entry {last}, but had {written[0][0] if written else 0}")


def _readable(db: sqlite3.Connection) -> list[LogEntry]:
    """Entries up to the first that cannot be understood, which is a problem of the log."""
    found = []
    with suppress(SessionError):
        for entry in reading.log(db, 0):
            found.append(entry)
    return found


def _settings_problems(db: sqlite3.Connection, entries: Sequence[LogEntry]) -> Iterator[Problem]:
    rows = db.execute("SELECT key, value FROM settings ORDER BY key").fetchall()
    if (
        not entries
        or entries[0].kind != CREATED
        or entries[0].body.get("settings") != vouched(rows)
    ):
        yield Problem("settings", "are not those that the session was begun with")


def _row_problems(
    db: sqlite3.Connection, table: str, entries: Sequence[LogEntry]
) -> Iterator[Problem]:
    """Rows of a table against what the log says of them, entry by entry."""
    found = _found(db, table)
    nothing = vouched(())
    for entry in entries:
        if entry.kind == COUNTED:
            said = entry.body.get(table)
            rows, sha256, keys = found.pop(entry.seq, (0, nothing["sha256"], ""))
            if said != {"rows": rows, "sha256": sha256}:
                what = f"{rows} rows of log entry {entry.seq} are not what it says"
                yield Problem(f"{table} {keys}".strip(), what)
    for seq, (rows, _sha256, keys) in found.items():
        yield Problem(f"{table} {keys}", f"{rows} rows belong to no entry of the log ({seq})")


def _found(db: sqlite3.Connection, table: str) -> dict[Any, tuple[int, str, str]]:
    """By entry: how many rows, their SHA-256, and the keys of the first and last."""
    shas: dict[Any, Any] = {}
    counts: dict[Any, int] = {}
    ends: dict[Any, list[str]] = {}
    width = KEYS[table].count(",") + 1
    for *row, entry in db.execute(f"SELECT * FROM {table} ORDER BY {KEYS[table]}"):
        shas.setdefault(entry, hashlib.sha256()).update(canonical(row))
        counts[entry] = counts.get(entry, 0) + 1
        key = "/".join(map(str, row[:width]))
        ends[entry] = [*ends.get(entry, [])[:1], key]
    return {e: (counts[e], shas[e].hexdigest(), " to ".join(ends[e])) for e in shas}


def _map_problems(db: sqlite3.Connection, entries: Sequence[LogEntry]) -> Iterator[Problem]:
    """The stage's map against the newest entry that tells of it, and each picture by itself."""
    said = {e.body.get("source_id"): e.body.get("keyframes") for e in entries if e.kind == MAP}
    there = {source for (source,) in db.execute("SELECT DISTINCT source_id FROM keyframes")}
    for source in sorted(there | said.keys(), key=str):
        rows = db.execute(MAP_ROWS, (source,)).fetchall()
        if said.get(source, vouched(())) != vouched(rows):
            yield Problem(f"keyframes of source {source}", "are not those that the log names")
    query = "SELECT source_id, position, sha256, levels FROM keyframes ORDER BY 1, 2"
    for source, position, sha256, levels in db.execute(query):
        data = levels if isinstance(levels, bytes) else str(levels).encode("utf-8", "replace")
        if hashlib.sha256(data).hexdigest() != sha256:
            yield Problem(f"keyframes {source}/{position}", "was changed")


def _count_problems(db: sqlite3.Connection, entries: Sequence[LogEntry]) -> Iterator[Problem]:
    """What the log refers to is there, and the differentials in it are those of the rows."""
    try:
        said, lines = reading.settings(db), cell_lines(db)
        ids, state = {line[0] for line in lines}, State()
        for entry in entries:
            state.take(entry)
            yield from _unknown_cells(entry, ids)
            if entry.kind in (SIGN, END):
                now = recount(lines, state, said).record()
                if entry.body["differential"] != now:
                    yield Problem(f"log {entry.seq}", "its differential is not that of the rows")
    except (HemeError, KeyError, TypeError, ValueError) as error:
        yield Problem("differential", f"cannot be recomputed ({error})")


def _unknown_cells(entry: LogEntry, ids: set[int]) -> Iterator[Problem]:
    named = [entry.body["cell"]] if "cell" in entry.body else []
    named += [gone for gone, _of in entry.body.get("duplicates", ())]
    for cell in named:
        if cell not in ids:
            yield Problem(f"log {entry.seq}", f"speaks of cell {cell}, which is not there")
