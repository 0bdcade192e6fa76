"""The file ``session.db``: its tables, and opening it without trusting what is in it."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from heme_edge.errors import HemeError
from heme_edge.session import adding
from heme_edge.session.rows import Settings

FILE = "session.db"
APPLICATION_ID = 0x48454D45
"""``HEME``, by which ``file`` and we know the file."""
VERSION = 1
BUSY_S = 5.0

TABLES = {
    "settings": """CREATE TABLE settings (
  key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID""",
    "log": """CREATE TABLE log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL,
  body TEXT NOT NULL, previous TEXT NOT NULL, sha256 TEXT NOT NULL)""",
    "frames": """CREATE TABLE frames (
  run INTEGER NOT NULL, source_id INTEGER NOT NULL, frame INTEGER NOT NULL, time REAL NOT NULL,
  patch INTEGER NOT NULL, x_um REAL NOT NULL, y_um REAL NOT NULL, width_um REAL NOT NULL,
  height_um REAL NOT NULL, not_used TEXT NOT NULL, cells INTEGER NOT NULL, name TEXT NOT NULL,
  entry INTEGER NOT NULL REFERENCES log(seq),
  PRIMARY KEY (run, source_id, frame)) WITHOUT ROWID""",
    "cells": """CREATE TABLE cells (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, source_id INTEGER NOT NULL,
  frame INTEGER NOT NULL, x_px REAL NOT NULL, y_px REAL NOT NULL, radius_um REAL,
  patch INTEGER NOT NULL, slide_x_um REAL NOT NULL, slide_y_um REAL NOT NULL,
  code TEXT NOT NULL, probability REAL NOT NULL, probabilities BLOB NOT NULL,
  disagreement REAL NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL, views INTEGER NOT NULL,
  time REAL NOT NULL, entry INTEGER NOT NULL REFERENCES log(seq))""",
    "crops": """CREATE TABLE crops (
  id INTEGER PRIMARY KEY REFERENCES cells(id), jpeg BLOB NOT NULL,
  entry INTEGER NOT NULL REFERENCES log(seq))""",
    "keyframes": """CREATE TABLE keyframes (
  source_id INTEGER NOT NULL, picture TEXT NOT NULL, position INTEGER NOT NULL,
  patch INTEGER NOT NULL, x REAL NOT NULL, y REAL NOT NULL, sharp INTEGER NOT NULL,
  height INTEGER NOT NULL, width INTEGER NOT NULL, sha256 TEXT NOT NULL, levels BLOB NOT NULL,
  PRIMARY KEY (source_id, picture)) WITHOUT ROWID""",
}
"""Cells and their crops lie apart, so that a search of cells does not read pictures."""

BY_ENTRY = ("frames", "cells", "crops")
"""Tables whose rows name the log entry that vouches for them."""


class SessionError(HemeError):
    """A session that cannot be opened, made, written or changed so.

    Attributes:
        missing: whether there is none at all.
    """

    missing = False


def create_file(path: Path, settings: Settings) -> None:
    """Makes a session file with nothing but settings; it is there whole or not at all.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part, isolation_level=None)
    try:
        db.execute("BEGIN")
        for sql in TABLES.values():
            db.execute(sql)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        adding.settings(db, settings, time.time())
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
    part.replace(path)


def cannot_write(error: sqlite3.Error) -> SessionError:
    """The sentence for a disk that does not take what is written."""
    return SessionError(f"The session cannot be written ({error}).", "Free space, then try again")


def damaged(folder: Path, error: Exception) -> SessionError:
    """The sentence for a file that cannot be read."""
    return SessionError(
        f"The session in '{folder}' is damaged ({error}).", f"heme-edge verify {folder}"
    )


def refuse_existing(folder: Path) -> None:
    """Raises SessionError where a folder holds a session already."""
    if (folder / FILE).exists():
        raise SessionError(
            f"'{folder}' holds a session already.",
            f"Another folder, or heme-edge live --resume {folder}",
        )


def session_file(folder: Path) -> Path:
    """The file of a session.

    Raises:
        SessionError: there is none.
    """
    path = folder / FILE
    if path.is_symlink() or not path.is_file():
        error = SessionError(
            f"There is no session in '{folder}'.",
            "heme-edge live --session DIR, or classify --session DIR, makes one",
        )
        error.missing = True
        raise error
    return path


def open_file(folder: Path) -> sqlite3.Connection:
    """Opens the file of a session for reading only; raises as ``session_file``, ``connect``."""
    return connect(session_file(folder), write=False)


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Opens a session file and checks that it is one, with our tables and nothing else.

    Raises:
        SessionError: it is none, newer than this program, or damaged.
    """
    try:
        return _checked(path, _open(path, write))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SessionError(
            f"'{path}' cannot be opened as a session ({error}).",
            "Copy it again, with session.db-wal where there is one",
        ) from error


def _open(path: Path, write: bool) -> sqlite3.Connection:
    mode = "rw" if write else "ro"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )


def _set(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA synchronous = FULL")


def _checked(path: Path, db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        _set(db)
        _check(path, db)
    except BaseException:
        db.close()
        raise
    return db


def _check(path: Path, db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise SessionError(f"'{path}' is not a session of heme-edge.")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise SessionError(
            f"'{path}' has format {version}; this program knows {VERSION}.",
            "pip install --upgrade heme-edge",
        )
    found = {
        sql
        for (sql,) in db.execute("SELECT sql FROM sqlite_master")
        if sql is not None and not sql.startswith("CREATE TABLE sqlite_sequence")
    }
    if found != set(TABLES.values()):
        raise SessionError(f"'{path}' has other tables than a session has.")
