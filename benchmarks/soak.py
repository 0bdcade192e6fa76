"""``heme-edge live`` for half an hour on an HTTP camera: does anything grow or leak?

    python -m benchmarks.soak --videos VIDEOS/tour-*.mp4 --minutes 30
    python -m benchmarks.soak --videos VIDEOS/tour-1*.mp4 --minutes 10 --new-places

An MJPEG server on loopback plays the videos forwards and backwards at 30 frames a second (of
`live_tours --keep VIDEOS`: the stage comes back to where it was, and jumps from video to video).
`live --headless` watches it in a process of its own, of which resident memory, threads and open
files are read every ten seconds. Prints one JSON line: each at five minutes, and its largest after.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.ledger_score import read_lines

FPS, EVERY_S, SETTLED_S = 30.0, 10.0, 300.0
TURN_DEG = 3.0


def pictures(videos: list[Path], turn_deg: float) -> Iterator[bytes]:
    """JPEGs of the videos, each forwards and backwards, without end, turned further each time."""
    for round_ in count():
        for video in videos:
            capture = cv2.VideoCapture(str(video))
            jpegs: list[bytes] = []
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                seen = turned(image, round_ * turn_deg)
                jpegs.append(cv2.imencode(".jpg", seen)[1].tobytes())
                yield jpegs[-1]
            capture.release()
            yield from reversed(jpegs)


def turned(image: Any, degrees: float) -> Any:
    """A frame turned about its middle, its corners filled by reflection."""
    if not degrees:
        return image
    height, width = image.shape[:2]
    how = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(image, how, (width, height), borderMode=cv2.BORDER_REFLECT)


class Camera(BaseHTTPRequestHandler):
    """Sends each picture when it is due."""

    videos: tuple[Path, ...] = ()
    turn_deg = 0.0

    def do_GET(self) -> None:
        """One client."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        with suppress(OSError):
            due = time.monotonic()
            for data in pictures(list(self.videos), self.turn_deg):
                head = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                self.wfile.write(head + data + b"\r\n")
                due = max(due + 1 / FPS, time.monotonic() - 1 / FPS)
                time.sleep(max(0.0, due - time.monotonic()))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def state(pid: int) -> dict[str, float]:
    """Resident memory in MiB, now and at most so far, threads and open files of a process."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
        "largest_rss_mib": int(fields["VmHWM"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "open_files": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }


def watched(url: str, lines: Path, seconds: float) -> list[dict[str, float]]:
    """States of live while it watches a camera for so long; then it is stopped by Ctrl-C."""
    command = [sys.executable, "-m", "heme_edge.cli", "live", "--camera", url, "--headless"]
    states, started = [], time.monotonic()
    with lines.open("w") as out:
        process = subprocess.Popen([*command, "--um-per-px", "0.25"], stdout=out)
        while time.monotonic() < started + seconds and process.poll() is None:
            time.sleep(EVERY_S)
            states.append({"time_s": round(time.monotonic() - started, 1)} | state(process.pid))
        process.send_signal(signal.SIGINT)
        if process.wait(20):
            raise SystemExit(f"live ended with {process.returncode}")
    return states


def result(states: list[dict[str, float]], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What was at five minutes, the largest after, and the memory's slope from then on."""
    after = [s for s in states if s["time_s"] >= SETTLED_S] or states[-1:]
    slope = 0.0
    if len(after) > 2:
        times, rss = ([s[key] for s in after] for key in ("time_s", "rss_mib"))
        slope = 3600 * float(np.polyfit(times, rss, 1)[0])
    summary = lines[-1]["summary"]
    keys = ("frames_captured", "frames_analysed", "frames_used", "cells_counted",
            "duplicates_refused", "age_ms_p50", "age_ms_p95")  # fmt: skip
    return {
        "minutes": round(states[-1]["time_s"] / 60, 1),
        **{
            key: {
                "at_5_min": round(after[0][key], 1),
                "largest_after": round(max(s[key] for s in after), 1),
                "last": round(after[-1][key], 1),
            }
            for key in ("rss_mib", "threads", "open_files")
        },
        "rss_mib_per_hour": round(slope, 1),
        **{key: summary[key] for key in keys},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--new-places", action="store_true")
    asked = parser.parse_args()
    Camera.videos = tuple(asked.videos)
    Camera.turn_deg = TURN_DEG if asked.new_places else 0.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "live.jsonl"
        states = watched(f"http://127.0.0.1:{server.server_port}/", lines, 60 * asked.minutes)
        print(json.dumps(result(states, read_lines(lines))))
    server.shutdown()


if __name__ == "__main__":
    main()
