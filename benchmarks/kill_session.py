"""live is killed at random moments and goes on each time: what is lost, what is counted twice?

    python -m benchmarks.kill_session --kills 20

One session of the simulated stage: it is begun, killed with SIGKILL, gone on with (`--resume`),
killed again, and so on; the last run ends by itself. Each run goes its tour from the start, so
what the one before has counted comes into view again. After each kill: how long before it the
newest frame in the session was captured, whether SQLite finds the file sound, and whether
`heme-edge verify` does. At the end: cells of the truth that are in the session twice. Prints a
table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger_score import cell_of, truth_frames

from heme_edge.session import Session, verify

UM_PER_PX = 0.25
BEGIN_S = 60.0
"""Longest wait for the first frame."""


@dataclass(frozen=True)
class Killed:
    """What was found after one kill.

    Attributes:
        after_s: from the first frame in the session to the kill.
        lost_s: from the newest frame in the session to the kill.
        integrity: what SQLite says of the file.
        problems: what ``verify`` finds.
        cells: in the session.
    """

    after_s: float
    lost_s: float
    integrity: str
    problems: int
    cells: int


def command(folder: Path, truth: Path, run: int, tour: int, *more: str) -> list[str]:
    """``heme-edge live`` of a run: the first begins the session, the others go on with it."""
    how = "--resume" if run else "--session"
    return [
        sys.executable, "-m", "heme_edge.cli", "live", "--camera", "sim", "--sim-tour", str(tour),
        "--sim-truth", str(truth), "--headless", how, str(folder), *more,
    ]  # fmt: skip


def kill_after(folder: Path, asked: list[str], run: int, seconds: float) -> Killed:
    """Starts a run, kills it so long after its first frame in the session, and looks."""
    with subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as live:
        begun = _first_frame(folder, run, live)
        time.sleep(seconds)
        killed = time.time()
        live.send_signal(signal.SIGKILL)
        live.communicate()
    found = look(folder, killed)
    return Killed(killed - begun, *found)


def look(folder: Path, killed: float) -> tuple[float, str, int, int]:
    """Seconds lost, what SQLite says, what ``verify`` finds, and how many cells there are."""
    db = sqlite3.connect(folder / "session.db")
    try:
        (said,) = db.execute("PRAGMA integrity_check").fetchone()
        (newest,) = db.execute("SELECT max(time) FROM frames").fetchone()
        (cells,) = db.execute("SELECT count(*) FROM cells").fetchone()
    finally:
        db.close()
    return killed - newest, said, len(verify(folder)), cells


def twice(folder: Path, truths: list[Path]) -> dict[str, int]:
    """How many cells of the truth the session holds, and how many of them more than once.

    A cell is looked for in the truth of the run that it was counted in.
    """
    frames = [truth_frames(path) for path in truths]
    session = Session.open(folder)
    cells = session.cells(order="id")
    session.close()
    found = Counter(
        cell_of(frames[c.run][c.frame], c.x_px, c.y_px, UM_PER_PX) for c in cells
    )  # fmt: skip
    nothing = found.pop(None, 0)
    more = sum(times > 1 for times in found.values())
    return {"rows": len(cells), "cells": len(found), "twice": more, "no_cell": nothing}


def _first_frame(folder: Path, run: int, live: subprocess.Popen[bytes]) -> float:
    """Waits until a frame of a run is in the session; its time."""
    end = time.monotonic() + BEGIN_S
    while time.monotonic() < end and live.poll() is None:
        time.sleep(0.05)
        if not (folder / "session.db").exists():
            continue
        db = sqlite3.connect(f"file:{folder / 'session.db'}?mode=ro", uri=True, timeout=5)
        try:
            query = "SELECT min(time) FROM frames WHERE run = ?"
            (begun,) = db.execute(query, (run,)).fetchone()
        finally:
            db.close()
        if begun is not None:
            return float(begun)
    live.kill()
    said = live.stderr.read().decode() if live.stderr else ""
    raise SystemExit(f"live did not begin: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tour", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds until a kill")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "session"
        truths = [Path(name) / f"truth-{run}.jsonl" for run in range(asked.kills + 1)]
        kills = []
        print(f"{'kill':>4} {'after s':>8} {'lost s':>7} {'integrity':>9} {'problems':>8} cells")
        for run in range(asked.kills):
            one = command(folder, truths[run], run, asked.tour)
            k = kill_after(folder, one, run, rng.uniform(0, asked.longest))
            print(
                f"{run:>4} {k.after_s:>8.2f} {k.lost_s:>7.2f} {k.integrity:>9} {k.problems:>8} "
                f"{k.cells}", flush=True,
            )  # fmt: skip
            kills.append(k)
        last = command(folder, truths[-1], asked.kills, asked.tour, "--seconds", "15")
        subprocess.run(last, check=True, stdout=subprocess.DEVNULL)
        scored = twice(folder, truths)
        problems = len(verify(folder))
    longest = round(max(k.lost_s for k in kills), 2)
    print(json.dumps({"kills": len(kills), "most_lost_s": longest, **scored, "problems": problems}))


if __name__ == "__main__":
    main()
