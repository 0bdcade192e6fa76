"""A reader of five frames a second on a network camera of thirty: how far behind it is."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from heme_edge.frames import open_source
from tests.edge_runtime.test_frames_kit import (
    HEIGHT,
    WIDTH,
    bgr,
    no_leaked_threads,
    number_of,
)

FPS = 30
PICTURES = 150


class Paced(ThreadingHTTPServer):
    """Sends pieces, each a picture, thirty a second."""

    def __init__(self, kind: str, pieces: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind, self.pieces, self.sent = kind, pieces, 0
        self.stopping = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Paced

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        start = time.monotonic()
        with suppress(OSError):
            for number, piece in enumerate(self.server.pieces):
                if self.server.stopping.wait(max(0, start + number / FPS - time.monotonic())):
                    return
                self.wfile.write(piece)
                self.server.sent = number + 1

    def log_message(self, *_: object) -> None:
        pass


def mjpeg(_folder: Path) -> tuple[str, list[bytes]]:
    pieces = []
    for number in range(PICTURES):
        data = cv2.imencode(".jpg", bgr(number))[1].tobytes()
        head = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        pieces.append(head + data + b"\r\n")
    return "multipart/x-mixed-replace; boundary=f", pieces


def mpeg4(folder: Path) -> tuple[str, list[bytes]]:
    """Whose decoder works on several pictures at once where it is let; pieces of equal length."""
    path = folder / "stream.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for number in range(PICTURES):
        writer.write(bgr(number))
    writer.release()
    data = path.read_bytes()
    cuts = [len(data) * number // PICTURES for number in range(PICTURES + 1)]
    return "video/x-matroska", [data[a:b] for a, b in itertools.pairwise(cuts)]


@contextmanager
def serve(kind: str, pieces: list[bytes]) -> Iterator[Paced]:
    with no_leaked_threads(), Paced(kind, pieces) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.05))
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("camera", [mjpeg, mpeg4])
def test_a_slow_reader_is_never_more_than_two_frames_behind(camera: object, tmp_path: Path) -> None:
    assert callable(camera)
    with serve(*camera(tmp_path)) as server:
        source = open_source(f"http://127.0.0.1:{server.server_port}/", stall_s=2)
        behind = []
        for _ in range(10):
            time.sleep(0.2)
            frame = source.read()
            assert frame is not None
            behind.append(server.sent - 1 - number_of(frame.image))
        source.close()
    assert max(behind) <= 2, behind
