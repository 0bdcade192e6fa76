"""``live --record``: what is written, and what happens where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heme_edge.draw import COUNTED, ShownCell, annotate
from heme_edge.errors import HemeError
from heme_edge.frames import open_source
from heme_edge.frames.base import Frame
from heme_edge.ledger import Window
from heme_edge.live import recording
from heme_edge.live.analyser import Analysed
from heme_edge.live.recording import Recording
from heme_edge.live.request import Request, recording_file
from heme_edge.live.slots import Placed
from heme_edge.results import CellName
from heme_edge.stage import TRACKING, Placement
from tests.conftest import Run
from tests.edge_runtime.test_frames_kit import HEIGHT, WIDTH, is_red, number_of, picture
from tests.edge_runtime.test_live import limit_file_size

HEADLESS = ("--headless", "--backend", "onnxruntime", "--precision", "fp32")
CELL = ShownCell(60.04, 70.0, 20.0, CellName("M1", 0.91234, "M2", 0.05, 0.0), COUNTED)


def analysed(number: int, image: np.ndarray | None = None) -> Analysed:
    """A frame with one counted cell."""
    image = picture(number) if image is None else image
    frame = Frame(image, 3 * number, 100 + number / 30)
    place = Placement(10.0 + number, 20.0, 0, 1.0, TRACKING, 0.0)
    placed = Placed(frame, Window(place, image.shape[1], image.shape[0], 0.25))
    return Analysed(placed, [CELL], [], [], "", "readable")


def finish(recorded: Recording, seconds: float = 5.0) -> dict[str, Any]:
    recorded.close(time.monotonic() + seconds)
    return recorded.record()


def record(path: Path, frames: list[Analysed], said: list[str]) -> dict[str, Any]:
    """Records at a rate that the thread keeps up with."""
    recorded = Recording(path, {"source": "a test"}, said.append)
    for frame in frames:
        recorded.offer(frame)
        time.sleep(0.02)
    return finish(recorded)


def overlay(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_the_video_is_read_back_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    path, said = tmp_path / "sub" / f"smear{suffix}", list[str]()
    told = record(path, [analysed(number) for number in range(6)], said)
    assert told == {"recording": str(path), "frames_recorded": 6, "frames_not_recorded": 0}
    assert said == []
    source, numbers = open_source(str(path)), []
    while (frame := source.read()) is not None:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert is_red(frame.image)
        numbers.append(number_of(frame.image))
    source.close()
    assert numbers == list(range(6))


def test_the_overlay_is_enough_to_draw_it_again(tmp_path: Path) -> None:
    path, frame = tmp_path / "smear.avi", analysed(4)
    record(path, [analysed(2), frame], [])
    about, _, line = overlay(path)
    assert about["recording"]["um_per_px"] == 0.25
    assert (about["recording"]["width_px"], about["recording"]["height_px"]) == (WIDTH, HEIGHT)
    assert (line["video_frame"], line["frame"]) == (1, 12)
    assert line["time_s"] == pytest.approx(2 / 30, abs=1e-4)
    assert line["place"] == {"patch": 0, "x_um": 14.0, "y_um": 20.0, "state": "tracking"}
    cells = [
        ShownCell(
            c["x_px"], c["y_px"], c["radius_px"], CellName(c["code"], c["probability"], "", 0, 0),
            c["state"],
        )
        for c in line["cells"]
    ]  # fmt: skip
    again = annotate(picture(4), cells, focus=line["focus"])
    assert np.array_equal(again, annotate(picture(4), frame.cells, focus=1.0))


def test_a_session_is_recorded_until_ctrl_c(tmp_path: Path, heme_edge: Run) -> None:
    path = tmp_path / "smear.mp4"
    command = [sys.executable, "-m", "heme_edge.cli", "live", "--camera", "sim", *HEADLESS]
    with subprocess.Popen(
        [*command, "--record", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(12)]
        os.kill(process.pid, signal.SIGINT)
        started = time.monotonic()
        rest, error = process.communicate(timeout=20)
    assert time.monotonic() - started < 2
    assert process.returncode == 0, error
    lines = [json.loads(line) for line in [*first, *rest.splitlines()]]
    frames, summary = [line for line in lines if "frame" in line], lines[-1]["summary"]
    about, *drawn = overlay(path)
    assert about["recording"]["simulated"] is True
    assert "Research use only" in about["recording"]["notice"]
    assert summary["frames_recorded"] == len(drawn)
    assert f"{path}: {len(drawn)} frames recorded, " in error
    assert len(drawn) + summary["frames_not_recorded"] == len(frames)
    cells = {line["frame"]: len(line["cells"]) for line in frames}
    assert all(len(line["cells"]) == cells[line["frame"]] for line in drawn)
    done = heme_edge("live", "--camera", path, *HEADLESS, "--um-per-px", "0.25")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["frames_captured"] == len(drawn)
    assert (summary["width_px"], summary["height_px"]) == (1280, 720)


def test_a_disk_that_hangs_drops_frames_and_holds_nothing_up(tmp_path: Path) -> None:
    path, said = tmp_path / "smear.avi", list[str]()
    os.mkfifo(path.with_suffix(".jsonl"))  # opening it waits for a reader, who never comes
    recorded = Recording(path, {}, said.append)
    started = time.monotonic()
    for number in range(20):
        recorded.offer(analysed(number))
    assert time.monotonic() - started < 0.5
    told = finish(recorded, 0.2)
    assert time.monotonic() - started < 1
    assert (told["frames_recorded"], told["frames_not_recorded"]) == (0, 20)
    assert said == [f"{path} could not be finished in time: the disk is too slow."]
    reader = os.open(path.with_suffix(".jsonl"), os.O_RDONLY | os.O_NONBLOCK)
    finish(recorded)  # now that it goes on
    os.close(reader)


def test_a_file_that_cannot_grow_is_said_once_and_counting_goes_on(
    tmp_path: Path, heme_edge: Run
) -> None:
    options = ("--camera", "sim", *HEADLESS, "--seconds", "1", "--record", tmp_path / "a.avi")
    done = heme_edge("live", *options, preexec_fn=limit_file_size)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ends here; counting goes on.") == 1
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["frames_not_recorded"] > 0
    recorded = summary["frames_recorded"] + summary["frames_not_recorded"]
    assert recorded == summary["frames_analysed"]


def test_it_ends_while_the_disk_has_room_to_finish_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = tmp_path / "smear.mp4", list[str]()
    recorded = Recording(path, {}, said.append)
    recorded.offer(analysed(0))
    time.sleep(0.1)
    monkeypatch.setattr(recording, "LEAST_FREE_BYTES", 1 << 60)
    for number in range(1, 9):
        recorded.offer(analysed(number))
        time.sleep(0.02)
    told = finish(recorded)
    assert (told["frames_recorded"], told["frames_not_recorded"]) == (1, 8)
    assert said == [
        f"The disk of {tmp_path} is full. The recording {path} ends here; counting goes on."
    ]
    source = open_source(str(path))
    assert source.read() is not None
    source.close()


def test_a_codec_that_opencv_lacks_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recording, "CODECS", {".mp4": ("none",)})
    said: list[str] = []
    told = record(tmp_path / "smear.mp4", [analysed(0), analysed(1)], said)
    assert told["frames_not_recorded"] == 2
    assert len(said) == 1
    assert said[0].startswith("OpenCV can write no .mp4 video there.")
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_comes_back_with_another_size_ends_it(tmp_path: Path) -> None:
    said: list[str] = []
    frames = [analysed(0), analysed(1, picture(1)[:80])]
    assert record(tmp_path / "smear.mkv", frames, said)["frames_recorded"] == 1
    assert said[0].startswith("The camera came back with another size.")


def test_names_of_recordings(tmp_path: Path) -> None:
    two = Request(("0", "1"), record=tmp_path / "smear.mp4")
    assert recording_file(two, 1) == tmp_path / "smear-1.mp4"
    (tmp_path / "smear-1.jsonl").touch()
    with pytest.raises(HemeError, match=r"smear-1\.jsonl' is there already"):
        recording_file(two, 1)
    with pytest.raises(HemeError, match=r"is not a \.mp4, \.avi or \.mkv file"):
        recording_file(Request(("0",), record=tmp_path / "smear.txt"), 0)
