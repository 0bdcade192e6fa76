"""An MJPEG camera as a process of its own, which can be killed, and ``heme-edge live`` watching it.

python -m tests.edge_runtime.live_kit PORT noisy|frozen|silent|dark

http://127.0.0.1:PORT/7 shows the field with seed 7, / the one with seed 4.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any

import cv2
import numpy as np

from heme_edge.sim.slide import draw_smear

FPS = 30
UM_PER_PX = 0.25
SEED = 4
PICTURES = 8


class _Camera(BaseHTTPRequestHandler):
    """One field of a drawn smear, with the noise of a sensor."""

    mode = "noisy"

    def do_GET(self) -> None:
        if self.mode == "silent":
            time.sleep(60)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        with suppress(OSError):
            self._stream()

    def _stream(self) -> None:
        for data in cycle(_pictures(int(self.path[1:] or SEED), self.mode)):
            head = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            self.wfile.write(head + data + b"\r\n")
            time.sleep(1 / FPS)

    def log_message(self, *_: object) -> None:
        pass


@cache
def _pictures(seed: int, mode: str) -> list[bytes]:
    """JPEG files of a field, or of none where the lamp is off."""
    rng, image = np.random.default_rng(seed), field(seed)
    if mode == "dark":
        image = np.full_like(image, 6)
    noises = [rng.normal(0, 2, image.shape) for _ in range(1 if mode == "frozen" else PICTURES)]
    noisy = [np.clip(image + noise, 0, 255).astype(np.uint8) for noise in noises]
    return [cv2.imencode(".jpg", one[..., ::-1])[1].tobytes() for one in noisy]


def field(seed: int) -> np.ndarray:
    """A field of 640x480 px with cells, RGB."""
    smear = draw_smear(
        seed, width_um=160, height_um=120, um_per_px=UM_PER_PX, cells_per_mm2=1200
    )  # fmt: skip
    return smear.image[:480, :640]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Camera:
    """The server as a process of its own."""

    def __init__(self, port: int, mode: str = "noisy") -> None:
        self._command = [sys.executable, "-m", "tests.edge_runtime.live_kit", str(port), mode]

    def __enter__(self) -> Camera:
        """Once it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"
        return self

    def kill(self) -> None:
        self._process.kill()

    def __exit__(self, *_: object) -> None:
        self.kill()
        with self._process:  # closes its pipe
            pass


class Watched:
    """``heme-edge live --headless`` in a process of its own, whose lines are kept as they come.

    Args:
        options: of the command.
        start: the camera that it watches, started before and killed after it.
        scale: given, or to be measured.
        headless: as JSON lines; else ``text`` has what is printed.
    """

    def __init__(
        self, *options: str, start: Camera, scale: bool = True, headless: bool = True
    ) -> None:
        self.server = start.__enter__()
        command = [sys.executable, "-m", "heme_edge.cli", "live", *["--headless"] * headless]
        model = ("--backend", "onnxruntime", "--precision", "fp32")
        given = ("--um-per-px", "0.25") if scale else ()
        self.process = subprocess.Popen(
            [*command, *model, *given, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.text: list[tuple[float, str]] = []
        self.said: list[tuple[float, str]] = []
        self._threads = [
            threading.Thread(target=self._read_lines), threading.Thread(target=self._read_said)
        ]  # fmt: skip
        for thread in self._threads:
            thread.start()

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text.append((time.monotonic(), line))
            if line.startswith("{"):
                self.lines.append((time.monotonic(), json.loads(line)))

    def _read_said(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append((time.monotonic(), line))

    def wait_for(self, key: str, count: int = 1, limit_s: float = 40.0) -> float:
        """When the ``count``-th line with this key came."""
        return self._wait(
            lambda: [at for at, line in self.lines if key in line][:count], count, limit_s
        )

    def wait_said(self, text: str, limit_s: float = 40.0) -> float:
        """When this was said, on stderr or, without ``--headless``, on stdout."""
        return self._wait(
            lambda: [at for at, line in self.said + self.text if text in line], 1, limit_s
        )

    def _wait(self, found: Any, count: int, limit_s: float) -> float:
        end = time.monotonic() + limit_s
        while len(times := found()) < count:
            assert time.monotonic() < end, "".join(line for _, line in self.said)
            time.sleep(0.02)
        return float(times[count - 1])

    def stop(self, number: signal.Signals = signal.SIGINT) -> float:
        """Sends a signal; seconds until the process has ended."""
        started = time.monotonic()
        os.kill(self.process.pid, number)
        return self.ended(started)

    def ended(self, since_s: float) -> float:
        """Waits for the end; seconds since then."""
        self.process.wait(20)
        took = time.monotonic() - since_s
        self._join()
        assert "Traceback" not in "".join(line for _, line in self.said)
        return took

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._join()
        self.server.__exit__()
        with self.process:  # closes its pipes
            pass

    def summary(self) -> dict[str, Any]:
        """The last line."""
        return dict(self.lines[-1][1]["summary"])

    def cells(self) -> list[dict[str, Any]]:
        """The cells that were counted."""
        return [line["cell"] for _, line in self.lines if "cell" in line]


def main() -> None:
    _Camera.mode = sys.argv[2]
    _pictures(SEED, _Camera.mode)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Camera)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
