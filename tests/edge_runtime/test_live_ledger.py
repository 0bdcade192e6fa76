"""``heme-edge live`` counts every physical cell once, from whatever source."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from benchmarks.ledger_oracle import truth_of
from benchmarks.ledger_score import Row, View, score

from heme_edge.crops import Image
from heme_edge.sim.slide import draw_smear
from heme_edge.sim.stage import SimulatedStage
from heme_edge.sim.tours import TOUR_VIEW_PX, TOURS, tour_slide
from tests.conftest import Run, draw_field, save
from tests.edge_runtime.live_kit import field

MODEL = ("--headless", "--um-per-px", "0.25", "--backend", "onnxruntime", "--precision", "fp32")


def write_video(path: Path, pictures: list[Image]) -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (width, height))
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path


def parsed(done: subprocess.CompletedProcess[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Lines of the cells, and the summary."""
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if "cell" in line], lines[-1]["summary"]


def scan(image: Image, step_px: int = 24) -> list[Image]:
    """Frames of 640x480 px along a strip and back."""
    there = list(range(0, image.shape[1] - 640, step_px))
    return [image[:480, x : x + 640] for x in there + there[::-1]]


def test_a_scan_there_and_back_counts_each_cell_once(tmp_path: Path, heme_edge: Run) -> None:
    smear = draw_smear(3, width_um=350, height_um=120, um_per_px=0.25, cells_per_mm2=1200)
    video = write_video(tmp_path / "scan.avi", scan(smear.image))
    done = heme_edge("live", "--camera", video, *MODEL)
    cells, summary = parsed(done)
    stages = [
        line["stage"] for line in map(json.loads, done.stdout.splitlines()) if "stage" in line
    ]
    assert stages[0] == "new"
    assert set(stages[1:]) == {"tracking"}
    margin_um = 13
    inside = [
        cell
        for cell in smear.cells
        if cell.code != "PL"
        and margin_um < cell.x_um < 350 - margin_um - 6
        and margin_um < cell.y_um < 120 - margin_um
    ]
    places = np.array([(c["cell"]["slide_x_um"], c["cell"]["slide_y_um"]) for c in cells])
    near = [(np.hypot(*(places - (c.x_um, c.y_um)).T) < 4).sum() for c in inside]
    assert len(inside) > 20
    assert near.count(1) >= 0.9 * len(inside)
    assert max(near) == 1
    assert summary["cells_counted"] == len(cells) <= 1.15 * len(inside)
    assert {line["patch"] for line in cells} == {0}


def test_a_video_of_separate_fields_is_not_merged_into_one(tmp_path: Path, heme_edge: Run) -> None:
    fields = [field(seed) for seed in (4, 5, 6)]
    alone = []
    for number, one in enumerate(fields):
        video = write_video(tmp_path / f"{number}.avi", [one] * 6)
        alone.append(parsed(heme_edge("live", "--camera", video, *MODEL))[1]["cells_counted"])
    video = write_video(tmp_path / "all.avi", [one for one in fields for _ in range(6)])
    cells, summary = parsed(heme_edge("live", "--camera", video, *MODEL))
    assert summary["cells_counted"] == sum(alone) > 12
    assert len({line["patch"] for line in cells}) == 3
    assert summary["duplicates_refused"] == 0


def test_each_photo_of_a_folder_has_its_own_cells(tmp_path: Path, heme_edge: Run) -> None:
    for number in range(3):
        save(tmp_path / "photos" / f"{number}.png", draw_field())
    cells, summary = parsed(heme_edge("live", "--camera", tmp_path / "photos", *MODEL))
    assert summary["cells_counted"] == len(cells) == 18
    assert [line["cell"]["frame"] for line in cells] == [0] * 6 + [1] * 6 + [2] * 6
    assert summary["frames_refused"] == {}
    assert summary["differential"]["not_counted"]["edge"] == 3


def test_four_sources_at_once(tmp_path: Path, heme_edge: Run) -> None:
    """Every row tells its source, none is starved, each has a ledger of its own."""
    options: list[str | Path] = []
    for number in range(4):
        options += ["--camera", write_video(tmp_path / f"{number}.avi", [draw_field()] * 5)]
    cells, summary = parsed(heme_edge("live", *options, *MODEL))
    assert [sum(line["source_id"] == k for line in cells) for k in range(4)] == [6] * 4
    assert summary["cells_counted"] == 24
    assert [source["frames_analysed"] for source in summary["sources"]] == [5] * 4


def test_a_black_and_a_blurred_frame_say_why_they_are_not_used(
    tmp_path: Path, heme_edge: Run
) -> None:
    sharp = field(4)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 8)
    pictures = [sharp] * 6 + [blurred] * 3 + [np.zeros_like(sharp)] * 2
    video = write_video(tmp_path / "a.avi", pictures)
    _, summary = parsed(heme_edge("live", "--camera", video, *MODEL))
    assert summary["frames_used"] == 4
    assert summary["frames_refused"] == {"nothing-new": 2, "out-of-focus": 3, "black": 2}


def test_the_beginning_of_a_tour_against_its_truth(tmp_path: Path, heme_edge: Run) -> None:
    """With our own detector, from a video, of which no frame is dropped on a busy machine."""
    stage = SimulatedStage(view=TOUR_VIEW_PX, smear=tour_slide(0), tour=TOURS[0])
    numbers = range(0, 60, 2)
    video = write_video(tmp_path / "tour.avi", [stage.render(number) for number in numbers])
    cells, summary = parsed(heme_edge("live", "--camera", video, *MODEL))
    truth = {line["frame"]: line for line in truth_of(stage) if "frame" in line}
    shown = {at: truth[number] for at, number in enumerate(numbers)}
    rows = [Row(c["cell"]["frame"], c["cell"]["x_px"], c["cell"]["y_px"]) for c in cells]
    assert summary["duplicates_refused"] == 0
    assert len(rows) == summary["cells_counted"]
    scored = score(shown, rows, View(*TOUR_VIEW_PX, 0.25))
    assert scored["eligible_share"] > 0.95
    assert scored["once"] > 0.98
    assert scored["twice"] == 0
    assert scored["no_cell"] < 0.05
