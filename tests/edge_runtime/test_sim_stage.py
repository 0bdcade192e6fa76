"""The simulated stage: the same seed gives the same frames, and the truth file is true."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heme_edge.cells import is_known
from heme_edge.errors import SourceError
from heme_edge.sim import Smear, draw_smear
from heme_edge.sim.path import SPEED_UM_S, StagePath
from heme_edge.sim.stage import SimulatedStage
from heme_edge.sim.truth import TruthFile

VIEW = (320, 240)


@pytest.fixture(scope="module")
def smear() -> Smear:
    return draw_smear(3, width_um=300, height_um=260, cells_per_mm2=1500)


def make(smear: Smear, seed: int = 3, truth: Path | None = None) -> SimulatedStage:
    return SimulatedStage(seed=seed, smear=smear, view=VIEW, truth=truth)


def lines(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cell lines and frame lines."""
    every = [json.loads(line) for line in path.read_text().splitlines()]
    return [x for x in every if "cell" in x], [x for x in every if "frame" in x]


def test_the_same_seed_gives_the_same_slide_and_frames() -> None:
    slides = [draw_smear(seed, width_um=120, height_um=100) for seed in (7, 7, 8)]
    assert slides[0].cells == slides[1].cells
    assert np.array_equal(slides[0].image, slides[1].image)
    assert not np.array_equal(slides[0].image, slides[2].image)


def test_a_frame_does_not_depend_on_when_it_is_read(smear: Smear) -> None:
    one, two = make(smear), make(smear)
    two.render(500)
    time.sleep(0.05)
    for _ in range(3):
        frame = one.read()
        assert frame is not None
        assert np.array_equal(frame.image, two.render(frame.index))
    assert not np.array_equal(make(smear, seed=4).render(90), one.render(90))
    assert not np.array_equal(one.render(90), one.render(91))


def test_the_truth_file_has_every_cell_and_every_captured_frame(
    smear: Smear, tmp_path: Path
) -> None:
    stage = make(smear, truth=tmp_path / "truth.jsonl")
    stage.read()
    time.sleep(0.2)
    stage.read()
    cells, frames = lines(tmp_path / "truth.jsonl")
    assert stage.captured > 4
    assert [x["frame"] for x in frames] == list(range(stage.captured))
    stage.close()
    assert len(cells) == len(smear.cells)
    assert {"cell", "x_um", "y_um", "code"} <= set(cells[0])
    assert all(is_known(x["code"]) for x in cells)
    by_id = {x["cell"]: x for x in cells}
    for frame in frames:
        assert set(frame) == {
            "frame", "stage_x_um", "stage_y_um", "sharp", "blur_um", "angle_deg", "cells"
        }  # fmt: skip
        for seen in frame["cells"]:
            cell = by_id[seen["id"]]
            assert cell["code"] != "PL"
            assert frame["stage_x_um"] + seen["x_px"] * 0.25 == pytest.approx(
                cell["x_um"], abs=0.01
            )
            assert frame["stage_y_um"] + seen["y_px"] * 0.25 == pytest.approx(
                cell["y_um"], abs=0.01
            )
            assert -0.5 <= seen["x_px"] < VIEW[0] - 0.5


def test_there_is_a_dark_nucleus_at_each_true_place(smear: Smear, tmp_path: Path) -> None:
    stage = make(smear)
    truth = TruthFile(tmp_path / "truth.jsonl", smear.cells, VIEW, 0.25)
    for number in range(0, 900, 90):
        truth.frame(number, stage.pose(number))
    truth.close()
    checked = 0
    for frame in lines(tmp_path / "truth.jsonl")[1]:
        image = stage.render(frame["frame"])
        for x, y in [(round(c["x_px"]), round(c["y_px"])) for c in frame["cells"]]:
            if frame["sharp"] and 12 < x < VIEW[0] - 12 and 12 < y < VIEW[1] - 12:
                around = image[y - 10 : y + 11, x - 10 : x + 11, 1]
                assert (around < 110).mean() > 0.15
                checked += 1
    assert checked > 40


def test_drawn_positions_are_right_to_a_pixel(smear: Smear) -> None:
    """Frames far apart in time overlay after a shift by the stage's own positions."""
    stage = make(smear)
    still = [k for k in range(0, 900, 3) if not stage.pose(k).moving and stage.pose(k).sharp]
    first, other = still[0], next(k for k in still if stage.pose(k).x_um > 20)
    a, b = (stage.render(k)[..., 1].astype(np.float32) for k in (first, other))
    pose_a, pose_b = stage.pose(first), stage.pose(other)
    shift = (pose_b.x_um - pose_a.x_um) / 0.25, (pose_b.y_um - pose_a.y_um) / 0.25
    moved = cv2.warpAffine(a, np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]]), VIEW)
    part = (slice(80, 160), slice(10, max(60, int(VIEW[0] - abs(shift[0]) - 10))))
    assert np.abs(moved[part] - b[part]).mean() < 6


def test_the_stage_moves_smoothly_stops_and_comes_back() -> None:
    path = StagePath(1, (700.0, 600.0), (190.0, 110.0), 30.0)
    poses = [path.pose(k) for k in range(int(path.period_s * 30))]
    places = np.array([(p.x_um, p.y_um) for p in poses])
    speed = np.hypot(*np.diff(places, axis=0).T) * 30
    assert speed.max() <= SPEED_UM_S * 1.02
    still = ~np.array([p.moving for p in poses])
    assert 0.2 < still.mean() < 0.8
    stops = {(round(x, 1), round(y, 1)) for (x, y), s in zip(places, still, strict=True) if s}
    starts = np.flatnonzero(np.diff(still.astype(int)) == 1)
    assert len(starts) > len(stops)
    assert 0.7 < np.mean([p.sharp for p in poses]) < 1
    assert places.min() >= 0
    assert (places.max(0) <= (700, 600)).all()


def test_defocus_blurs_the_picture(smear: Smear) -> None:
    stage = make(smear)
    frames = range(0, 900)
    blurred = max(frames, key=lambda k: stage.pose(k).blur_um)
    at = stage.pose(blurred)
    image = stage.render(blurred)
    sharp = stage._camera.render(blurred, type(at)(at.x_um, at.y_um, 0.0, at.moving))
    edges = [
        cv2.Laplacian(cv2.GaussianBlur(i, (0, 0), 1.5), cv2.CV_32F).var() for i in (image, sharp)
    ]
    assert edges[0] < 0.5 * edges[1]


def test_a_frame_is_quick_to_render(smear: Smear) -> None:
    stage = SimulatedStage(smear=smear, view=(1000, 720))
    start = time.perf_counter()
    for number in range(10):
        stage.render(number)
    assert time.perf_counter() - start < 1.0


def test_a_truth_file_that_cannot_be_written(smear: Smear, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be written"):
        make(smear, truth=tmp_path / "no" / "truth.jsonl")
