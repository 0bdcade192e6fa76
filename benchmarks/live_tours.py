"""``heme-edge live`` on the ten tours, played in real time from a video: counts, age, rate, memory.

    python -m benchmarks.live_tours --crops CROPS --keep VIDEOS
    python -m benchmarks.live_tours --crops CROPS --tours 1 --live-options "--precision int8"

Each tour is drawn to a video of 1280x960 px and 30 frames a second first (MPEG-4, so the network
sees compressed pictures), then `live --real-time --headless` plays it in a process of its own,
decoding included. Prints one JSON line for each tour: the score of `ledger_score`, ages in ms,
frames taken and searched a second, the largest resident memory. It wants a machine for itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.ledger_oracle import UM_PER_PX, truth_of
from benchmarks.ledger_score import Line, View, ledger_rows, read_lines, score
from benchmarks.soak import state

from heme_edge.sim.slide import Smear
from heme_edge.sim.stage import SimulatedStage
from heme_edge.sim.tours import TOUR_VIEW_PX, TOURS, tour_slide

FPS = 30.0


def drawn(stage: SimulatedStage, path: Path) -> Path:
    """The tour as a video; one that is there already is kept."""
    if path.is_file():
        return path
    half = path.with_stem(f"{path.stem}-half")
    video = cv2.VideoWriter(str(half), cv2.VideoWriter.fourcc(*"mp4v"), FPS, TOUR_VIEW_PX)
    for number in range(stage.path.frames or 0):
        video.write(stage.render(number)[..., ::-1])
    video.release()
    return half.rename(path)


def played(video: Path, lines: Path, options: list[str]) -> float:
    """Runs live on a video; its largest resident memory, MiB."""
    command = [sys.executable, "-m", "heme_edge.cli", "live", "--camera", str(video)]
    own = ["--real-time", "--headless", "--um-per-px", str(UM_PER_PX), *options]
    with lines.open("w") as out:
        process = subprocess.Popen([*command, *own], stdout=out, stderr=subprocess.DEVNULL)
        rss_mib = 0.0
        while process.poll() is None:
            with suppress(OSError, KeyError):  # it ends while it is looked at
                rss_mib = max(rss_mib, state(process.pid)["largest_rss_mib"])
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"live ended with {process.returncode}")
    return rss_mib


def measured(lines: list[Line]) -> dict[str, Any]:
    """Ages and rates of a run."""
    frames = [line for line in lines if "frame" in line]
    searched = [line["age_ms"] for line in frames if "not_used" not in line]
    seconds = frames[-1]["time_s"] - frames[0]["time_s"]
    summary = lines[-1]["summary"]
    return {
        "seconds": round(seconds, 1),
        "taken_per_s": round(len(frames) / seconds, 1),
        "searched_per_s": round(len(searched) / seconds, 1),
        "age_ms_p50": summary["age_ms_p50"],
        "age_ms_p95": summary["age_ms_p95"],
        "age_ms_p95_searched": round(float(np.percentile(searched, 95)), 1),
        "frames_refused": summary["frames_refused"],
        "duplicates_refused": summary["duplicates_refused"],
    }


def run_tour(number: int, slide: Smear, asked: argparse.Namespace) -> dict[str, Any]:
    """Draws, plays and scores one tour."""
    stage = SimulatedStage(seed=asked.seed, view=TOUR_VIEW_PX, smear=slide, tour=TOURS[number])
    truth = {line["frame"]: line for line in truth_of(stage) if "frame" in line}
    video = drawn(stage, asked.keep / f"tour-{number}-seed-{asked.seed}.mp4")
    path = asked.keep / f"live-{number}.jsonl"
    rss_mib = played(video, path, asked.live_options.split())
    lines = read_lines(path)
    scored = score(truth, ledger_rows(lines, 0), View(*TOUR_VIEW_PX, UM_PER_PX))
    name = {"tour": TOURS[number].name, "frames": len(truth)}
    return name | scored | measured(lines) | {"rss_mib": round(rss_mib)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tours", default=f"0-{len(TOURS) - 1}", help="for example 3 or 0-9")
    parser.add_argument("--crops", type=Path, required=True, help="class folders of real crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the videos and lines")
    parser.add_argument("--live-options", default="", help="further options of live")
    asked = parser.parse_args()
    first, _, last = asked.tours.partition("-")
    slide = tour_slide(asked.seed, asked.crops)
    with tempfile.TemporaryDirectory() as folder:
        asked.keep = asked.keep or Path(folder)
        asked.keep.mkdir(parents=True, exist_ok=True)
        for number in range(int(first), int(last or first) + 1):
            print(json.dumps(run_tour(number, slide, asked)), flush=True)


if __name__ == "__main__":
    main()
