"""The session store: what is put in comes out, and what persons do is added to it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from heme_edge.errors import HemeError
from heme_edge.session import Batch, Session, SessionError, replay, verify
from heme_edge.session.crop import decode_crop
from tests.edge_runtime.session_kit import (
    SETTINGS,
    cell,
    crop,
    filled,
    frame,
    jpeg,
    keyframes,
    of_all_kinds,
)


def test_what_is_added_is_read_in_another_session(tmp_path: Path) -> None:
    with_map = Batch([frame(1)], [cell(7, "M1", "uncertain", 0.4)], [], [], {0: keyframes(3)})
    session = filled(tmp_path, [cell(3), cell(4)])
    session.add(with_map)
    session.close()
    again = Session.open(tmp_path)
    assert again.settings == SETTINGS
    assert [one.id for one in again.cells(order="id")] == [3, 4, 7]
    found = again.cell(7)
    assert (found.code, found.reason, found.corrected) == ("M1", "uncertain", False)
    assert (found.x_px, found.slide_x_um, found.radius_um) == (107.0, 210.0, 6.5)
    np.testing.assert_array_equal(again.probabilities(7), with_map.cells[0].probabilities)
    assert again.crop(7) == jpeg(2)
    assert np.abs(decode_crop(again.crop(7)).astype(int) - crop(2)).mean() < 12
    assert again.frames() == [frame(0), frame(1)]
    for kept, key in zip(again.keyframes(0), keyframes(3), strict=True):
        assert (kept.patch, kept.x, kept.y, kept.sharp) == (key.patch, key.x, key.y, key.sharp)
        np.testing.assert_array_equal(kept.levels, key.levels)
    assert again.newest(0) == (7, 0)
    again.close()


def test_the_differential_follows_corrections_and_undo(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1), cell(2, "M1", "uncertain", 0.5)])
    assert session.tally().counted == {"M6": 2}
    session.correct(2, "M1")  # a person is certain
    session.correct(0, "u1")  # an artifact is never counted
    session.correct(1, "L4")  # a class that the bundle does not know
    tally = session.tally()
    assert +tally.counted == {"M1": 1, "L4": 1}
    assert +tally.left_out == {"artifact": 1}
    assert [row.code for row in tally.rows()] == ["M1", "M6", "L4"]
    assert session.cell(0).named == "M6"
    assert session.cells(code="L4")[0].id == 1
    assert [one.id for one in session.cells(reason="", order="id")] == [1, 2]
    assert [session.undo().body["cell"] for _ in range(3)] == [1, 0, 2]  # type: ignore[union-attr]  # there are three
    assert session.undo() is None
    assert +session.tally().counted == {"M6": 2}
    session.correct(1, "M1")
    assert session.tally().counted["M1"] == 1
    session.close()


def test_the_least_certain_come_first_and_those_that_a_person_named_last(tmp_path: Path) -> None:
    some = zip(range(4), (0.9, 0.6, 0.95, 0.8), strict=True)
    session = filled(tmp_path, [cell(number, probability=p) for number, p in some])
    session.correct(1, "M1")
    assert [one.id for one in session.cells()] == [3, 0, 2, 1]
    assert [one.id for one in session.cells(limit=2, offset=1)] == [0, 2]
    assert [one.id for one in session.cells(order="newest")] == [3, 2, 1, 0]
    session.close()


def test_a_duplicate_is_counted_once_and_keeps_what_a_person_said(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1), cell(2)])
    session.correct(1, "M1")
    session.add(Batch(duplicates=[(1, 0)]))
    assert +session.tally().counted == {"M6": 1, "M1": 1}
    assert session.cell(0).code == "M1"
    assert session.duplicates(0) == 1
    with pytest.raises(SessionError, match="Cell 1 is the same cell as 0"):
        session.correct(1, "M6")
    session.close()


def test_a_duplicate_of_a_cell_that_is_counted_later_passes_on_its_name(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1)])
    session.correct(1, "M1")
    session.add(Batch(duplicates=[(1, 9)]))
    assert +session.tally().counted == {"M6": 1}
    assert verify(tmp_path) == []
    session.add(Batch(cells=[cell(9)]))
    assert +session.tally().counted == {"M6": 1, "M1": 1}
    session.close()
    assert verify(tmp_path) == []


def test_places_follow_patches_that_are_joined_later(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1, patch=2)])
    session.add(Batch([frame(1)], [cell(2)], [], [(0, 2, 0, 100.0, -7.5)]))
    place = session.cell(1)
    assert (place.patch, place.slide_x_um, place.slide_y_um) == (0, 130.0, 5.0)
    assert session.cell(2).slide_x_um == 60.0
    assert session.newest(0) == (2, 2)  # no later patch is called so again
    session.close()


def test_a_correction_follows_its_cell_through_entries_without_a_row(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1)])
    session.correct(0, "M1")
    session.add(Batch([frame(1)], [], [(0, 5)]))  # 5 was not counted yet
    assert session.newest(0)[0] == 5  # after kill -9 no other cell is called so
    session.add(Batch([frame(2)], [], [(0, 7)]))  # and turned out to be part of 7
    session.add(Batch([frame(3)], [cell(7)]))
    assert session.cell(7).code == "M1"
    session.close()
    assert verify(tmp_path) == []


def test_a_signature_holds_until_it_is_taken_back_or_something_is_counted(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1)])
    entry = session.sign(" AB ")
    assert entry.body["differential"]["counted"] == 2
    signature = session.signed()
    assert signature is not None
    assert signature.initials == "AB"
    for change in (lambda: session.correct(0, "M1"), session.undo, lambda: session.sign("CD")):
        with pytest.raises(SessionError, match="signed by AB"):
            change()
    session.add(Batch([frame(1)]))  # a frame alone changes nothing
    assert session.signed() == signature
    session.reopen(by="AB")
    assert session.signed() is None
    session.correct(0, "M1")
    session.sign("CD")
    session.add(Batch([frame(2)], [cell(2)]))
    assert session.signed() is None
    session.close()


@pytest.mark.parametrize("initials", ["", "  ", "A\nB", "A" * 21])
def test_initials_are_letters(tmp_path: Path, initials: str) -> None:
    session = filled(tmp_path)
    with pytest.raises(SessionError, match="Initials"):
        session.sign(initials)
    session.close()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0)])
    with pytest.raises(SessionError, match="no cell 9"):
        session.correct(9, "M1")
    with pytest.raises(HemeError, match="not a known cell class"):
        session.correct(0, "X9")
    with pytest.raises(SessionError, match="not signed"):
        session.reopen()
    with pytest.raises(SessionError, match="holds a session already"):
        Session.create(tmp_path, SETTINGS)
    reader = Session.open(tmp_path)
    with pytest.raises(SessionError, match="for reading only"):
        reader.correct(0, "M1")
    reader.close()
    session.close()
    session.close()


def test_one_process_writes_and_others_read_what_it_commits(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0)])
    with pytest.raises(SessionError, match="Another program is writing"):
        Session.open(tmp_path, write=True)
    reader = Session.open(tmp_path)
    assert reader.tally().total == 1
    session.add(Batch([], [cell(1)]))
    session.correct(0, "M1")
    assert +reader.tally().counted == {"M6": 1, "M1": 1}
    reader.close()
    session.close()
    Session.open(tmp_path, write=True).close()


def _changed(folder: Path, sql: str) -> None:
    db = sqlite3.connect(folder / "session.db")
    db.execute(sql)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("PRAGMA user_version = 99", "has format 99"),
        ("PRAGMA application_id = 1", "not a session of heme-edge"),
        ("CREATE TABLE more (x)", "other tables"),
        ("CREATE TRIGGER t AFTER INSERT ON log BEGIN DELETE FROM cells; END", "other tables"),
        ("UPDATE settings SET value = '[' WHERE key = 'classes'", "settings are damaged"),
        ("UPDATE settings SET key = 'x' WHERE key = 'bundle'", "settings are damaged"),
        ("UPDATE log SET body = '{}' WHERE kind = 'counted'", "Entry 2 of the session's log"),
        ("UPDATE log SET body = '[1' WHERE seq = 2", "Entry 2 of the session's log"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_in_one_sentence(
    tmp_path: Path, sql: str, said: str
) -> None:
    filled(tmp_path, [cell(0)]).close()
    _changed(tmp_path, sql)
    with pytest.raises(SessionError, match=said):
        Session.open(tmp_path)


def test_rubbish_and_links_are_no_sessions(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="There is no session"):
        Session.open(tmp_path)
    (tmp_path / "session.db").write_bytes(b"rubbish" * 999)
    with pytest.raises(SessionError, match="cannot be opened as a session"):
        Session.open(tmp_path)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "session.db").symlink_to(tmp_path / "session.db")
    with pytest.raises(SessionError, match="There is no session"):
        Session.open(linked)


def test_damaged_pictures_are_said_or_left_out(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0), cell(1, picture=b"")])
    session.add(Batch(maps={0: keyframes(3)}))
    assert session.crop(1) == b""
    session.close()
    _changed(tmp_path, "UPDATE crops SET jpeg = zeroblob(9000000)")
    _changed(tmp_path, "UPDATE keyframes SET levels = x'00' WHERE position = 0")
    _changed(tmp_path, "UPDATE keyframes SET height = 1000000 WHERE position = 1")
    _changed(tmp_path, "UPDATE cells SET probabilities = x'0000'")
    again = Session.open(tmp_path)
    with pytest.raises(SessionError, match="crop of cell 0 is damaged"):
        again.crop(0)
    with pytest.raises(SessionError, match="probabilities of cell 0 are damaged"):
        again.probabilities(0)
    assert len(again.keyframes(0)) == 1
    again.close()


def test_a_map_that_changes_keeps_its_pictures(tmp_path: Path) -> None:
    session = filled(tmp_path)
    some = keyframes(3)
    session.add(Batch(maps={0: some}))
    session.add(Batch(maps={0: [some[2], some[0]]}))
    assert [key.x for key in session.keyframes(0)] == [8.0, 0.0]
    session.close()


def test_another_process_replays_the_same_differential(tmp_path: Path) -> None:
    folder = of_all_kinds(tmp_path)
    session = Session.open(folder)
    said = session.tally().record()
    session.close()
    command = [sys.executable, "-m", "heme_edge.cli", "replay", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["differential"] == said
    assert (record["signed"], record["corrections"], record["duplicates"]) == ("CD", 2, 1)
    assert record["stored"] == {"entry": 14, "same": True}
    assert record["notice"] == "Research use only."


def test_20000_cells_open_and_filter_in_less_than_a_second(tmp_path: Path) -> None:
    session = filled(tmp_path)
    rng = np.random.default_rng(0)
    some = [
        cell(number, ("M1", "M6")[number % 2], probability=float(p))
        for number, p in enumerate(rng.uniform(0.3, 1, 20_000))
    ]
    for start in range(0, len(some), 4000):
        session.add(Batch([], some[start : start + 4000]))
    for number in range(0, 2000, 10):
        session.correct(number, "L2")
    session.close()
    best = min(_seconds_to_open_and_filter(tmp_path) for _ in range(3))
    assert best < 1
    assert replay(tmp_path).cells == 20_000


def _seconds_to_open_and_filter(folder: Path) -> float:
    started = time.perf_counter()
    session = Session.open(folder)
    assert len(session.cells(code="M1", limit=200)) == 200
    assert len(session.cells(code="L2")) == 200
    assert len(session.cells(reason="", order="newest", limit=100, offset=5000)) == 100
    assert session.tally().total == 20_000
    assert session.crop(777)
    session.close()
    return time.perf_counter() - started


def test_a_disk_that_takes_nothing_is_one_sentence_and_changes_nothing(tmp_path: Path) -> None:
    session = filled(tmp_path, [cell(0)])
    session._db.execute("PRAGMA max_page_count = 1")  # as large as it is now
    with pytest.raises(SessionError, match="cannot be written"):
        session.add(Batch([], [cell(k) for k in range(1, 50)]))
    assert len(session.cells()) == 1
    session.close()
    assert verify(tmp_path) == []


def test_a_page_that_is_overwritten_is_one_sentence(tmp_path: Path) -> None:
    filled(tmp_path, [cell(k) for k in range(200)]).close()
    path = tmp_path / "session.db"
    data = bytearray(path.read_bytes())
    data[7 * 4096 :] = bytes(len(data) - 7 * 4096)
    path.write_bytes(data)
    with pytest.raises(SessionError, match="damaged"):
        _read_all(tmp_path)
    assert verify(tmp_path)


def _read_all(folder: Path) -> None:
    session = Session.open(folder)
    try:
        session.cells()
    finally:
        session.close()
