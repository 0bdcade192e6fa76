"""What the frame-source tests share: numbered pictures, an MJPEG server, a fake camera.

The left half of each picture is red; the right half shows the picture's number as eight bright
or dark squares, which survive JPEG.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 256, 160
BITS = 8
SQUARE = HEIGHT // BITS
FPS = 50.0


def picture(number: int) -> np.ndarray:
    """RGB uint8, noisy as a sensor is."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 30, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[:, : WIDTH // 2, 0] += 200
    for bit in range(BITS):
        if number >> bit & 1:
            image[bit * SQUARE : (bit + 1) * SQUARE, WIDTH // 2 :] += 200
    return image


def number_of(image: np.ndarray) -> int:
    rows = image[:, 3 * WIDTH // 4 :].reshape(BITS, SQUARE, -1).mean((1, 2))
    return sum(1 << bit for bit in range(BITS) if rows[bit] > 110)


def is_red(image: np.ndarray) -> bool:
    red, green, blue = image[:, : WIDTH // 2 - 8].reshape(-1, 3).mean(0)
    return bool(red > 150 and green < 80 and blue < 80)


def bgr(number: int) -> np.ndarray:
    return np.ascontiguousarray(picture(number)[..., ::-1])


def write_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(bgr(number))
    writer.release()
    return path


def write_photos(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        suffix = (".png", ".JPG", ".tif")[number % 3]
        cv2.imwrite(str(folder / f"field {number}{suffix}"), bgr(number))
    return folder


class FakeGrabber:
    """A camera of `FPS` frames per second; ``limit`` frames, then it hangs or fails."""

    def __init__(self, limit: int = 1 << 30, *, hang: bool = False, frozen: bool = False) -> None:
        self.sent = 0
        self.released = threading.Event()
        self.unblock = threading.Event()
        self._limit, self._hang, self._frozen = limit, hang, frozen

    def grab(self) -> np.ndarray | None:
        time.sleep(1 / FPS)
        if self.sent >= self._limit:
            if self._hang:
                self.unblock.wait(20)
            return None
        self.sent += 1
        return bgr(0 if self._frozen else (self.sent - 1) % 256)

    def release(self) -> None:
        self.released.set()


class MjpegServer(ThreadingHTTPServer):
    """Sends pictures as multipart/x-mixed-replace; ``limit`` of them, then hangs or hangs up."""

    daemon_threads = False

    def __init__(self, limit: int = 1 << 30, *, hang: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.limit, self.hang = limit, hang
        self.sent = 0
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video"


class _Handler(BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            self._stream()
        except OSError:
            return

    def _stream(self) -> None:
        server = self.server
        while server.sent < server.limit and not server.stopping.wait(1 / FPS):
            _, data = cv2.imencode(".jpg", bgr(server.sent % 256))
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data.tobytes() + b"\r\n")
            server.sent += 1
        if server.hang:
            server.stopping.wait(20)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def mjpeg_server(limit: int = 1 << 30, *, hang: bool = False) -> Iterator[MjpegServer]:
    server = MjpegServer(limit, hang=hang)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), name="mjpeg")
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def no_leaked_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    give_up = time.monotonic() + 3
    while leaked := [t for t in threading.enumerate() if t not in before and t.is_alive()]:
        assert time.monotonic() < give_up, leaked
        time.sleep(0.02)
