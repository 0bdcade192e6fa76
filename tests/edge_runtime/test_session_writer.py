"""The thread that writes: nobody waits for it, and a full disk loses nothing and breaks nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heme_edge.session import Batch, Session, verify
from heme_edge.session.writer import Writer
from tests.edge_runtime.session_kit import (
    NO_DISK,
    SETTINGS,
    cell,
    crop,
    frame,
    keyframes,
    small_disk,
)

FULL = "database or disk is full"


def test_what_is_handed_over_is_there_half_a_second_later(tmp_path: Path) -> None:
    session = Session.create(tmp_path, SETTINGS)
    writer = Writer(session, pytest.fail)
    writer.put(Batch([frame(0)], [cell(0, picture=b"")]), {0: crop(0)})
    end = time.monotonic() + 5
    while not session.cells():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert session.crop(0).startswith(b"\xff\xd8")
    assert writer.close()
    session.close()


def test_joins_come_before_the_cells_that_were_counted_after_them(tmp_path: Path) -> None:
    session = Session.create(tmp_path, SETTINGS)
    writer = Writer(session, pytest.fail)
    writer.put(Batch([frame(0)], [cell(0, patch=1)]))
    writer.put(Batch([frame(1)], [cell(1)], [], [(0, 1, 0, 50.0, 0.0)]))
    writer.put(Batch([frame(2)], [cell(2)], [(2, 1)], [], {0: keyframes(1)}))
    writer.put(Batch([frame(3)], [cell(3)], [], [], {0: keyframes(2)}))
    assert writer.close()
    found = session.cells(order="id")
    assert [(one.id, one.patch, one.slide_x_um) for one in found] == [
        (0, 0, 50.0), (1, 0, 30.0), (3, 0, 90.0)
    ]  # fmt: skip
    assert len(session.frames()) == 4
    assert len(session.keyframes(0)) == 2
    session.close()
    assert verify(tmp_path) == []


def test_5_megabytes_of_crops_a_second_never_block_who_hands_them_over(tmp_path: Path) -> None:
    """Even while the disk takes nothing: another connection holds the file for a second."""
    session = Session.create(tmp_path, SETTINGS)
    writer = Writer(session, pytest.fail)
    blocker = sqlite3.connect(tmp_path / "session.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    longest, number, started = 0.0, 0, time.monotonic()
    while (now := time.monotonic()) < started + 1.5:
        if now > started + 1 and blocker.in_transaction:
            blocker.execute("COMMIT")
        some = range(number, number + 12)  # of 27,648 bytes each, 15 times a second
        batch = Batch([frame(number)], [cell(k, picture=b"") for k in some])
        crops = {k: crop(k % 5) for k in some}
        before = time.perf_counter()
        writer.put(batch, crops)
        longest = max(longest, time.perf_counter() - before)
        number += 12
        time.sleep(1 / 15)
    blocker.close()
    assert writer.close()
    assert longest < 0.05  # 0.2 ms where nothing else runs
    assert [one.id for one in session.cells(order="id")] == list(range(number))
    assert session.crop(number - 1)
    session.close()


def test_a_disk_that_is_really_full_is_said_and_breaks_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        if disk is None:
            pytest.skip(NO_DISK)
        _fill_and_empty(disk)


def _fill_and_empty(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (11 << 20))
    folder, said = small_disk / "session", list[str]()
    session = Session.create(folder, SETTINGS)
    writer = Writer(session, said.append)
    for number in range(150):
        writer.put(Batch([frame(number)], [cell(number, picture=b"")]), {number: crop(number % 5)})
        time.sleep(0.005)
    wait_until(lambda: bool(said))
    assert FULL in said[0]
    assert len(session.cells()) < 150
    assert verify(folder) == []
    filler.unlink()
    assert writer.close()
    assert said[1:] == ["The session is written again."]
    assert len(session.cells()) == 150
    session.close()
    assert verify(folder) == []


def test_rows_that_wait_are_written_in_their_order_once_there_is_room(tmp_path: Path) -> None:
    session = Session.create(tmp_path, SETTINGS)
    said: list[str] = []
    limit(session, 30)
    writer = Writer(session, said.append)
    for number in range(300):
        writer.put(Batch([frame(number)], [cell(number)], [], [], {0: keyframes(number % 3 + 1)}))
        time.sleep(0.003)
    wait_until(lambda: bool(said))
    assert FULL in said[0]
    before = len(session.cells())
    assert before < 300
    limit(session, 1 << 20)
    wait_until(lambda: len(said) > 1)
    assert said[1:] == ["The session is written again."]
    assert writer.close()
    assert [one.id for one in session.cells(order="id")] == list(range(300))
    assert len(session.keyframes(0)) == 3
    session.close()
    assert verify(tmp_path) == []


def test_beyond_the_bound_only_names_and_places_are_kept(tmp_path: Path) -> None:
    session = Session.create(tmp_path, SETTINGS)
    said: list[str] = []
    limit(session, 30)
    writer = Writer(session, said.append, most_bytes=200_000)
    for number in range(100):
        writer.put(Batch([frame(number)], [cell(number, picture=b"")]), {number: crop(1)})
    wait_until(lambda: bool(said))
    limit(session, 1 << 20)
    assert writer.close()
    assert said[-1].startswith("Crops of some cells were not kept")
    assert len(session.cells()) == 100
    with_crop = sum(bool(session.crop(number)) for number in range(100))
    assert 0 < with_crop < 100
    session.close()
    assert verify(tmp_path) == []


def test_what_could_not_be_written_is_said_at_the_end(tmp_path: Path) -> None:
    session = Session.create(tmp_path, SETTINGS)
    said: list[str] = []
    limit(session, 12)
    writer = Writer(session, said.append)
    writer.put(Batch([frame(0)], [cell(k) for k in range(50)]))
    assert not writer.close()
    assert said[-1] == "50 cells could not be written to the session."
    session.close()
    assert verify(tmp_path) == []


def limit(session: Session, pages: int) -> None:
    """How large SQLite lets the file be: beyond it the disk is full, as it says itself."""
    session._db.execute(f"PRAGMA max_page_count = {pages}")


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
