"""``heme-edge live`` as a user runs it: real video, real HTTP stream, real signals."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import Run, draw_field, save


def lines(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Frames and the summary of headless output."""
    parsed = [json.loads(line) for line in text.splitlines()]
    assert list(parsed[-1]) == ["summary"]
    return [line for line in parsed if "frame" in line], parsed[-1]["summary"]


def counted(text: str) -> list[dict[str, Any]]:
    """The cells that headless output says were counted."""
    parsed = [json.loads(line) for line in text.splitlines()]
    return [line["cell"] for line in parsed if "cell" in line]


def write_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for _ in range(frames):
        writer.write(cv2.cvtColor(draw_field(), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_every_frame_of_a_video(tmp_path: Path, heme_edge: Run) -> None:
    video = write_video(tmp_path / "a.avi", 5)
    done = heme_edge("live", "--camera", video, "--headless", "--um-per-px", "0.25")
    assert done.returncode == 0, done.stderr
    frames, summary = lines(done.stdout)
    assert [f["frame"] for f in frames] == list(range(5))
    for frame in frames:
        assert list(frame)[:5] == ["frame", "time_s", "age_ms", "cells", "field"]
        assert len(frame["cells"]) == 7
        assert list(frame["cells"][0]) == ["x_px", "y_px", "code", "probability"]
    assert [frame.get("not_used") for frame in frames] == [None] * 4 + ["nothing-new"]
    assert summary["frames_captured"] == summary["frames_analysed"] == 5
    assert summary["frames_used"] == 4
    assert summary["frames_refused"] == {"nothing-new": 1}
    cells = counted(done.stdout)
    assert summary["cells_counted"] == len(cells) == 6
    assert list(cells[0]) == [
        "id", "frame", "x_px", "y_px", "slide_x_um", "slide_y_um", "code", "probability"
    ]  # fmt: skip
    assert {cell["frame"] for cell in cells} <= {0, 1, 2}
    assert cells[0]["slide_x_um"] == pytest.approx(0.25 * cells[0]["x_px"], abs=0.5)
    differential = summary["differential"]
    assert differential["counted"] + sum(differential["not_counted"].values()) == 7
    assert differential["not_counted"]["edge"] == 1
    for row in differential["classes"]:
        assert row["low95"] <= row["percent"] <= row["high95"]
    assert (summary["width_px"], summary["height_px"]) == (640, 480)
    assert (summary["um_per_px"], summary["um_per_px_source"]) == (0.25, "given")
    assert 0 < summary["age_ms_p50"] <= summary["age_ms_p95"]
    assert "Research use only" in summary["notice"]
    assert "Research use only" in done.stderr


def test_a_scale_that_cannot_be_told_is_asked_for(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "photos" / "a.png", draw_field())
    done = heme_edge("live", "--camera", tmp_path / "photos", "--headless")
    assert done.returncode == 2
    assert "The scale cannot be told from the pictures" in done.stderr
    assert "--um-per-px" in done.stderr
    assert done.stdout == ""


def test_simulated_stage_against_its_truth(tmp_path: Path, heme_edge: Run) -> None:
    """Cells are named where the simulated smear really has cells."""
    truth = tmp_path / "truth.jsonl"
    options = ("--sim-seed", "3", "--sim-truth", truth, "--seconds", "4")
    done = heme_edge("live", "--camera", "sim", "--headless", *options)
    assert done.returncode == 0, done.stderr
    frames, summary = lines(done.stdout)
    assert summary["simulated"] is True
    assert summary["um_per_px_source"] == "source"
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    known = {r["frame"]: r for r in rows if "frame" in r}
    sharp = [f for f in frames if known[f["frame"]]["sharp"]]
    assert sharp, "no sharp frame was analysed"
    hit = total = found = 0
    for frame in sharp:
        there = known[frame["frame"]]["cells"]
        at = np.array([[c["x_px"], c["y_px"]] for c in frame["cells"]]).reshape(-1, 2)
        total, found = total + len(there), found + len(at)
        hit += sum(
            len(at) > 0 and np.hypot(*(at - (c["x_px"], c["y_px"])).T).min() < 16 for c in there
        )
    assert hit / total > 0.85
    assert found / total < 1.25


def test_annotated_picture(tmp_path: Path, heme_edge: Run) -> None:
    picture = tmp_path / "sub" / "live.png"
    done = heme_edge("live", "--camera", "sim", "--seconds", "3", "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert "Differential of" in done.stdout
    assert "nucleated cells with 95 % intervals" in done.stdout
    assert str(picture) in done.stdout
    assert "Research use only" in done.stdout
    image = cv2.imread(str(picture))
    assert image is not None
    assert image.shape[0] > 720


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_the_summary(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "heme_edge.cli", "live", "--camera", "sim", "--headless"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        os.kill(process.pid, number)
        started = time.monotonic()
        rest, error = process.communicate(timeout=20)
    assert time.monotonic() - started < 2
    assert process.returncode == 0, error
    frames, summary = lines(first + rest)
    assert summary["frames_analysed"] == len(frames) >= 1
    assert "Traceback" not in error


def test_a_camera_that_is_not_there(heme_edge: Run) -> None:
    done = heme_edge("live", "--camera", "41", "--headless")
    assert done.returncode == 2
    assert "41" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_not_a_source(heme_edge: Run) -> None:
    done = heme_edge("live", "--camera", "nonsense", "--headless")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


class _StopsMidStream(BaseHTTPRequestHandler):
    """Ten frames of MJPEG, then half a frame, then the connection is cut."""

    def do_GET(self) -> None:
        picture = cv2.cvtColor(draw_field(), cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        head = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        for _ in range(10):
            self.wfile.write(head + data + b"\r\n")
            time.sleep(0.15)
        self.wfile.write(head + data[: len(data) // 2])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _StopsMidStream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/stream.mjpg"
        finally:
            server.shutdown()
            thread.join()


def test_a_stream_that_stops_keeps_what_was_counted(heme_edge: Run) -> None:
    with serve() as url:
        options = ("--headless", "--um-per-px", "0.25", "--patience", "0")
        done = heme_edge("live", "--camera", url, *options)
    frames, summary = lines(done.stdout)
    assert done.returncode == 1, done.stderr
    assert 1 <= summary["frames_analysed"] == len(frames) <= 11
    assert summary["cells_counted"] == len(counted(done.stdout)) == 6
    assert "Error: " in done.stderr
    assert "127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_of_unknown_format(tmp_path: Path, heme_edge: Run) -> None:
    done = heme_edge("live", "--camera", "sim", "--picture", tmp_path / "a.txt")
    assert done.returncode == 2
    assert "is not a .jpg or .png file" in done.stderr


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))


def test_a_full_disk_is_said_and_counting_goes_on(tmp_path: Path, heme_edge: Run) -> None:
    picture = tmp_path / "live.jpg"
    options = ("--camera", "sim", "--seconds", "3", "--picture", picture)
    done = heme_edge("live", *options, preexec_fn=limit_file_size)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1
    assert "Differential of" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_output_to_a_full_device_is_one_sentence() -> None:
    command = f"{sys.executable} -m heme_edge.cli live --camera sim --headless > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_reader_of_the_output_goes_away() -> None:
    command = (
        f"{sys.executable} -m heme_edge.cli live --camera sim --headless --seconds 20 | head -1"
    )
    started = time.monotonic()
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert time.monotonic() - started < 15
    assert json.loads(done.stdout)["frame"] >= 0
    assert "Traceback" not in done.stderr
