"""A live session that is killed, goes on, and finds the disk full: real processes throughout."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.kill_session import command, kill_after, twice

from heme_edge.live.analyser import CountedCell
from heme_edge.live.earlier import take_up
from heme_edge.session import Session, replay, verify
from tests.edge_runtime.session_kit import NO_DISK, cell, filled, small_disk

MODEL = ("--backend", "onnxruntime", "--precision", "int8")


def live(folder: Path, truth: Path, run: int, *more: str) -> tuple[list[str], dict[str, Any]]:
    """A run to its end: what it said, and its summary."""
    asked = command(folder, truth, run, *MODEL, *more)
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return done.stderr.splitlines(), json.loads(done.stdout.splitlines()[-1])["summary"]


def test_live_is_killed_three_times_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    truths = [tmp_path / f"truth-{run}.jsonl" for run in range(4)]
    rng, cells = random.Random(7), 0
    for run, truth in enumerate(truths[:3]):
        asked = command(folder, truth, run, *MODEL)
        killed = kill_after(folder, asked, run, rng.uniform(0.2, 1.5))
        assert killed.lost_s < 1
        assert (killed.integrity, killed.problems) == ("ok", 0)
        assert killed.cells >= cells
        cells = killed.cells
    said, summary = live(folder, truths[3], 3, "--seconds", "2")
    assert not [line for line in said if "written" in line]
    assert verify(folder) == []
    assert replay(folder).tally.record() == summary["differential"]
    found = twice(folder, truths)
    assert found["rows"] >= summary["cells_counted"] >= cells > 0
    assert found["twice"] == 0
    frames = {row.run: row for row in _frames(folder)[::-1]}
    assert [frames[run].patch for run in range(4)] == [0, 0, 0, 0]  # found at its first frame


def test_an_earlier_cell_keeps_its_number_and_its_place(tmp_path: Path) -> None:
    session = filled(tmp_path / "session", [cell(4, patch=1), cell(7, "M1", "uncertain", 0.5)])
    kept: list[CountedCell] = []
    analyser = SimpleNamespace(take_up=lambda counted, duplicates: kept.extend(counted))
    camera: Any = SimpleNamespace(number=0, analyser=analyser)
    take_up(camera, session)
    session.close()
    assert [(c.entry.id, c.entry.patch, c.name.code, c.reason) for c in kept] == [
        (4, 1, "M6", ""), (7, 0, "M1", "uncertain"),
    ]  # fmt: skip
    assert [(c.entry.x_um, c.entry.y_um, c.entry.radius_um) for c in kept] == [
        (120.0, 12.5, 6.5), (210.0, 12.5, 6.5),
    ]  # fmt: skip


def _frames(folder: Path) -> list[Any]:
    session = Session.open(folder)
    try:
        return session.frames()
    finally:
        session.close()


def test_a_disk_that_fills_up_is_said_and_live_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        if disk is None:
            pytest.skip(NO_DISK)
        summary, said = _with_a_full_disk(disk, tmp_path / "truth.jsonl")
        assert sum("cannot be written" in line for line in said) == 1
        assert sum("is written again" in line for line in said) == 1
        assert verify(disk / "session") == []
        assert replay(disk / "session").tally.record() == summary["differential"]


def _with_a_full_disk(disk: Path, truth: Path) -> tuple[dict[str, Any], list[str]]:
    asked = command(disk / "session", truth, 0, *MODEL)
    said: list[str] = []
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        lines: list[str] = []
        ears = [
            threading.Thread(target=lambda: lines.extend(run.stdout or ())),
            threading.Thread(target=lambda: said.extend(iter((run.stderr or open).readline, ""))),
        ]
        for ear in ears:
            ear.start()
        _wait(lambda: (disk / "session" / "session.db").exists())
        _fill(disk / "filler")
        _wait(lambda: any("cannot be written" in line for line in said))
        (disk / "filler").unlink()
        _wait(lambda: any("is written again" in line for line in said))
        run.send_signal(signal.SIGINT)
        for ear in ears:
            ear.join()
    return json.loads(lines[-1])["summary"], said


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):  # no space left
        while True:
            file.write(bytes(4096))


def _wait(holds: Any) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--resume", "none"), "There is no session in"),
        (("--session", "there"), "holds a session already"),
        (("--resume", "there"), "was begun with another bundle"),
        (("--resume", "there", "--session", "other"), "--session begins a session"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_camera_is_opened(
    tmp_path: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from heme_edge.cli import main

    filled(tmp_path / "there").close()
    asked = [str(tmp_path / o) if not o.startswith("--") else o for o in options]
    with pytest.raises(SystemExit) as ended:
        main(["live", "--camera", "sim", "--headless", *asked])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert said in error
    assert "Opening" not in error
