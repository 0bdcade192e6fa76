"""live is killed at random moments and goes on each time: what is lost, what is counted twice?

    python -m benchmarks.kill_session --kills 20

One session of the simulated stage: it is begun, killed with SIGKILL, gone on with (`--resume`),
killed again, and so on; the last run ends by itself. Each run scans from the same start, so
what the one before has counted comes into view again. After each kill: how many of the cells that
live had told of are not in the session, and how long before the kill it told of the first of them;
whether SQLite finds the file sound, and whether `heme-edge verify` does. At the end: cells of the
truth that are in the session twice. Prints a table and one JSON line.
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
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ledger_score import cell_of, truth_frames

from heme_edge.session import Session, verify

UM_PER_PX = 0.25
BEGIN_S = 90.0
"""Longest wait for the first frame."""
HEADER = "kill  after s   lost  lost s integrity problems  cells"


@dataclass(frozen=True)
class Killed:
    """What was found after one kill.

    Attributes:
        after_s: from the first frame in the session to the kill.
        lost_cells: that live had told of, and that are not in the session.
        lost_s: from the line of the first of them to the kill; 0 where there is none.
        integrity: what SQLite says of the file.
        problems: what ``verify`` finds.
        cells: in the session.
    """

    after_s: float
    lost_cells: int
    lost_s: float
    integrity: str
    problems: int
    cells: int


def command(folder: Path, truth: Path, run: int, *more: str) -> list[str]:
    """``heme-edge live`` of a run: the first begins the session, the others go on with it."""
    how = "--resume" if run else "--session"
    return [
        sys.executable, "-m", "heme_edge.cli", "live", "--camera", "sim", "--sim-truth",
        str(truth), "--headless", how, str(folder), *more,
    ]  # fmt: skip


def kill_after(folder: Path, asked: list[str], run: int, seconds: float) -> Killed:
    """Starts a run, kills it so long after its first frame in the session, and looks."""
    told: list[tuple[float, int]] = []
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as live:
        listener = threading.Thread(target=_listen, args=(live, told))
        listener.start()
        begun = _first_frame(folder, run, live)
        time.sleep(seconds)
        killed = time.time()
        live.send_signal(signal.SIGKILL)
        listener.join()
    return _found(folder, told, begun, killed)


def _listen(live: subprocess.Popen[bytes], told: list[tuple[float, int]]) -> None:
    """Keeps when live told of each cell."""
    assert live.stdout is not None
    for line in live.stdout:
        with suppress(ValueError):  # the last line may be cut off
            if "cell" in (said := json.loads(line)):
                told.append((time.time(), said["cell"]["id"]))


def _found(folder: Path, told: list[tuple[float, int]], begun: float, killed: float) -> Killed:
    db = sqlite3.connect(folder / "session.db")
    try:
        (said,) = db.execute("PRAGMA integrity_check").fetchone()
        kept = {cell for (cell,) in db.execute("SELECT id FROM cells")}
    finally:
        db.close()
    lost = [at for at, cell in told if cell not in kept]
    lost_s = max(0.0, killed - min(lost, default=killed))
    return Killed(killed - begun, len(lost), lost_s, said, len(verify(folder)), len(kept))


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
    raise SystemExit(f"live did not begin: {live.args!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tour", help="0 to 9; by default the stage scans without end")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds until a kill")
    asked = parser.parse_args()
    rng, tour = random.Random(asked.seed), ("--sim-tour", asked.tour) if asked.tour else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "session"
        truths = [Path(name) / f"truth-{run}.jsonl" for run in range(asked.kills + 1)]
        kills = []
        print(HEADER)
        for run in range(asked.kills):
            one = command(folder, truths[run], run, *tour)
            k = kill_after(folder, one, run, rng.uniform(0, asked.longest))
            print(
                f"{run:>4} {k.after_s:>8.2f} {k.lost_cells:>6} {k.lost_s:>7.2f} "
                f"{k.integrity:>9} {k.problems:>8} {k.cells:>6}", flush=True,
            )  # fmt: skip
            kills.append(k)
        last = command(folder, truths[-1], asked.kills, *tour, "--seconds", "15")
        subprocess.run(last, check=True, stdout=subprocess.DEVNULL)
        scored = twice(folder, truths)
        problems = len(verify(folder))
    lost = {
        "most_lost_s": round(max(k.lost_s for k in kills), 2),
        "lost_cells": sum(k.lost_cells for k in kills),
    }
    print(json.dumps({"kills": len(kills), **lost, **scored, "problems": problems}))


if __name__ == "__main__":
    main()
