"""``verify`` finds one changed byte anywhere in rows or log, and rows that are gone or too many."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heme_edge.session import Session, SessionError, replay, verify
from heme_edge.session.chain import START, canonical, entry_digest
from tests.edge_runtime.session_kit import of_all_kinds

KEYS = {
    "settings": "key",
    "log": "seq",
    "frames": "run, source_id, frame",
    "cells": "id",
    "crops": "id",
    "keyframes": "source_id, picture",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_all_kinds(tmp_path_factory.mktemp("sound"))


def copied(sound: Path, folder: Path) -> sqlite3.Connection:
    """A copy of the session, opened to be spoiled."""
    folder.mkdir(exist_ok=True)
    shutil.copy(sound / "session.db", folder)
    db = sqlite3.connect(folder / "session.db")
    db.execute("PRAGMA synchronous = OFF")
    return db


def spoiled(sound: Path, folder: Path, *statements: str) -> list[str]:
    """Where ``verify`` finds something after these changes."""
    db = copied(sound, folder)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    return [problem.where for problem in verify(folder)]


def one_byte_off(value: Any) -> Any:
    if value is None:
        return 1.0
    if isinstance(value, int):
        return value ^ 64
    if isinstance(value, float):
        (bits,) = struct.unpack("<q", struct.pack("<d", value))
        return struct.unpack("<d", struct.pack("<q", bits ^ 1))[0]
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"


def every_value(db: sqlite3.Connection) -> Iterator[tuple[str, str, str, tuple[Any, ...], Any]]:
    for table, keys in KEYS.items():
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        where = " AND ".join(f"{key.strip()} = ?" for key in keys.split(","))
        for key in db.execute(f"SELECT {keys} FROM {table}").fetchall():
            for column in columns:
                query = f"SELECT {column} FROM {table} WHERE {where}"
                yield table, column, where, key, db.execute(query, key).fetchone()[0]


def test_a_sound_session_has_no_problem(sound: Path) -> None:
    assert verify(sound) == []


def test_one_byte_off_in_any_value_of_any_row_is_found(sound: Path, tmp_path: Path) -> None:
    db = copied(sound, tmp_path)
    values = list(every_value(db))
    db.close()
    missed = []
    for table, column, where, key, value in values:
        db = copied(sound, tmp_path)
        statement = f"UPDATE {table} SET {column} = ? WHERE {where}"
        db.execute(statement, (one_byte_off(value), *key))
        db.commit()
        db.close()
        if not verify(tmp_path):
            missed.append((table, column, key))
    assert missed == []
    assert len(values) > 300


def test_one_byte_off_in_the_file_is_found_or_changes_no_row(sound: Path, tmp_path: Path) -> None:
    data = (sound / "session.db").read_bytes()
    before, found = rows_of(sound), 0
    for at in np.random.default_rng(0).integers(0, len(data), 300):
        changed = bytearray(data)
        changed[at] ^= 0x10
        (tmp_path / "session.db").write_bytes(changed)
        if verify(tmp_path):
            found += 1
        else:
            assert rows_of(tmp_path) == before, at
    assert found > 100


def rows_of(folder: Path) -> list[Any]:
    db = sqlite3.connect(folder / "session.db")
    rows = [db.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()
            for table, key in KEYS.items()]  # fmt: skip
    db.close()
    return rows


@pytest.mark.parametrize("table", KEYS)
def test_a_row_that_is_gone_is_found(sound: Path, tmp_path: Path, table: str) -> None:
    assert spoiled(sound, tmp_path, f"DELETE FROM {table} WHERE {KEYS[table].split(',')[0]} = "
                   f"(SELECT max({KEYS[table].split(',')[0]}) FROM {table})")  # fmt: skip


@pytest.mark.parametrize(
    ("table", "key", "new"),
    [("settings", "key", "'x'"), ("frames", "frame", "77"), ("cells", "id", "77"),
     ("crops", "id", "77"), ("keyframes", "picture", "'x'"), ("log", "seq", "15")],
)  # fmt: skip
def test_a_row_too_many_is_found(
    sound: Path, tmp_path: Path, table: str, key: str, new: str
) -> None:
    db = copied(sound, tmp_path)
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    db.close()
    values = ", ".join(new if column == key else column for column in columns)
    statement = f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1"
    assert spoiled(sound, tmp_path, statement)


def test_rows_that_changed_places_are_found(sound: Path, tmp_path: Path) -> None:
    cells = [f"UPDATE cells SET id = {new} WHERE id = {old}"
             for old, new in ((0, 99), (1, 0), (99, 1))]  # fmt: skip
    assert spoiled(sound, tmp_path / "a", *cells) == ["cells 0 to 3"]
    log = [f"UPDATE log SET seq = {new} WHERE seq = {old}"
           for old, new in ((5, 99), (6, 5), (99, 6))]  # fmt: skip
    assert "log 5" in spoiled(sound, tmp_path / "b", *log)
    moved = "UPDATE cells SET entry = 4 WHERE id = 0"
    assert spoiled(sound, tmp_path / "c", moved) == ["cells 1 to 3", "cells 0 to 6"]


def test_a_log_that_was_cut_short_is_found(sound: Path, tmp_path: Path) -> None:
    assert spoiled(sound, tmp_path, "DELETE FROM log WHERE seq > 10") == ["log"]


def test_text_that_is_no_text_is_found(sound: Path, tmp_path: Path) -> None:
    statement = "UPDATE cells SET code = CAST(x'4dff' AS TEXT) WHERE id = 0"
    assert "cells 0 to 3" in spoiled(sound, tmp_path, statement)
    with pytest.raises(SessionError, match="damaged"):
        replay(tmp_path)


def test_a_differential_in_the_log_that_is_not_that_of_the_rows_is_found(
    sound: Path, tmp_path: Path
) -> None:
    """Even where the chain was computed anew; but then only because rows and log disagree."""
    db = copied(sound, tmp_path)
    previous = START
    for seq, time, kind, body, *_ in db.execute("SELECT * FROM log ORDER BY seq").fetchall():
        body = body.replace('"counted": 5', '"counted": 6')
        sha256 = entry_digest(seq, time, kind, body, previous)
        db.execute(
            "UPDATE log SET body = ?, previous = ?, sha256 = ? WHERE seq = ?",
            (body, previous, sha256, seq),
        )
        previous = sha256
    db.commit()
    db.close()
    assert {problem.where for problem in verify(tmp_path)} == {"log 10", "log 13", "log 14"}


def test_no_two_rows_have_the_same_bytes() -> None:
    rows = [("ab", "c"), ("a", "bc"), (1,), (1.0,), ("1",), (b"1",), (None,), ("",), (b"",), ()]
    assert len({canonical(row) for row in rows}) == len(rows)


def test_the_command_lists_what_is_wrong(sound: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heme_edge.cli", "verify"]
    spoiled(sound, tmp_path, "DELETE FROM crops WHERE id = 2")
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "crops 0 to 3: 3 rows of log entry 2 are not what it says" in done.stdout
    assert "not a forger" in done.stdout
    done = subprocess.run([*command, str(sound)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Sound: 6 cells, 5 of them counted, 2 corrections, 14 log entr")
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no session in")


def test_a_session_that_is_written_now_can_be_verified(tmp_path: Path) -> None:
    of_all_kinds(tmp_path)
    writing = Session.open(tmp_path, write=True)
    writing.reopen()
    assert verify(tmp_path) == []
    writing.close()
