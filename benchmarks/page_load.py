"""The page under load while ``heme-edge live`` counts: old pictures, errors, memory.

    python -m benchmarks.page_load --videos VIDEOS/tour-1-seed-0.mp4 --minutes 3

`soak`'s HTTP camera plays the videos to `live --web` in a process of its own. Twenty browsers ask
for pictures and never read them, one thread sends noise and odd requests, one asks for each new
picture as a browser does. Prints one JSON line: ages of the pictures when they leave (since
capture; the first is given however old it is; each says whether it is live), answers by status,
memory after 20 s and at most after that.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.soak import Camera, state

SLOW, BEGIN_S = 20, 20.0
PATHS = ("/", "/live.jpg", "/api/state", "/api/cells", "/api/cell/1", "/api/map", "/api/log",
         "/crop/1.jpg", "/export/cells.csv", "/api/correct", "/static/page.js",
         "/nothing")  # fmt: skip
WORDS = ("id", "limit", "-1", "1e400", "nan", "%00", "%ff", "é", "'", "../", "[]", "9" * 30)


class Load:
    """What is asked of the page at ``port``, and what it answered.

    Attributes:
        ages: ms since capture of each picture that arrived, and whether it was called live.
        statuses: answers by status; 0 is a closed line.
    """

    def __init__(self, port: int) -> None:
        self.port, self.ages, self.statuses = port, list[tuple[float, bool]](), Counter[int]()
        self.over = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._watch, self._noise)]
        self._slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(SLOW)]
        request = f"GET /live.jpg HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        for line in self._slow:
            line.sendall(50 * request)
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stops asking."""
        self.over.set()
        for thread in self._threads:
            thread.join()
        for line in self._slow:
            line.close()

    def _watch(self) -> None:
        line, last = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10), "0"
        while not self.over.is_set():
            line.request("GET", f"/live.jpg?after={last}")
            answer = line.getresponse()
            answer.read()
            self.statuses[answer.status] += 1
            if answer.status == 200:
                last = answer.headers["x-picture"]
                live = answer.headers["x-live"] == "yes"
                self.ages.append((float(answer.headers["x-age-ms"]), live))
        line.close()

    def _noise(self) -> None:
        dice = random.Random(1)
        while not self.over.wait(0.02):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as line:
                line.settimeout(5)
                line.sendall(self._odd(dice))
                found = re.match(rb"HTTP/1.1 (\d+)", line.recv(200))
                self.statuses[int(found[1]) if found else 0] += 1

    def _odd(self, dice: random.Random) -> bytes:
        if dice.random() < 0.2:
            return dice.randbytes(dice.randrange(1, 300)) + b"\r\n\r\n"
        what = dice.choice(PATHS) + dice.choice(("", "/", "?" + dice.choice(WORDS) + "=")) + (
            dice.choice(WORDS)
        )  # fmt: skip
        head = f"{dice.choice(('GET', 'POST', 'PUT', 'HEAD'))} {what} HTTP/1.1\r\n"
        fields = f"Host: 127.0.0.1:{self.port}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
        return (head + fields + "Content-Length: 0\r\nConnection: close\r\n\r\n").encode()


def measured(load: Load, memory: list[float], summary: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run."""
    (first, _), *later = load.ages
    ages = np.array([age for age, _ in later])
    return {
        "pictures": len(ages),
        "first_age_ms": first,
        "age_ms": {f"p{p}": round(float(np.percentile(ages, p)), 1) for p in (50, 95, 99, 100)},
        "older_than_250_ms": int((ages > 250).sum()),
        "of_them_called_live": sum(live for age, live in later if age > 250),
        "statuses": dict(sorted(load.statuses.items())),
        "rss_mib": {"first": round(memory[0]), "largest": round(max(memory))},
        **{k: summary[k] for k in ("frames_analysed", "age_ms_p50", "age_ms_p95", "cells_counted")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    asked = parser.parse_args()
    Camera.videos = tuple(asked.videos)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, "-m", "heme_edge.cli", "live", "--headless", "--um-per-px", "0.25",
               "--camera", f"http://127.0.0.1:{server.server_port}/",
               "--web", "127.0.0.1:0"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "live.jsonl").open("w") as out:
        process = subprocess.Popen(
            [*command, "--session", f"{folder}/session"],
            stdout=out, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        said = (re.search(r"page is at http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        port = next(int(found[1]) for found in said if found)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        load, memory, end_s = Load(port), list[float](), time.monotonic() + 60 * asked.minutes
        time.sleep(BEGIN_S)
        while time.monotonic() < end_s:
            memory.append(state(process.pid)["rss_mib"])
            time.sleep(2)
        load.end()
        process.send_signal(signal.SIGINT)
        if process.wait(20):
            raise SystemExit(f"live ended with {process.returncode}")
        summary = json.loads((Path(folder) / "live.jsonl").read_text().splitlines()[-1])
    print(json.dumps(measured(load, memory, summary["summary"])))


if __name__ == "__main__":
    main()
