"""The tours of the simulated stage."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.errors import SourceError
from heme_edge.frames import open_source
from heme_edge.sim import Smear
from heme_edge.sim.camera import axes
from heme_edge.sim.path import Pose
from heme_edge.sim.stage import SimulatedStage, open_tour
from heme_edge.sim.tours import JUMP_UM_S, MARGIN_UM, TOURS, Tour, TourPath, tour_slide

VIEW, UM_PER_PX = (640, 480), 0.5
REACH = (880.0, 660.0)


@pytest.fixture(scope="module")
def smear() -> Smear:
    return tour_slide(2, size_um=(440, 330))


def named(name: str) -> Tour:
    return next(tour for tour in TOURS if tour.name == name)


def make(smear: Smear, name: str, truth: Path | None = None) -> SimulatedStage:
    tour = named(name)
    return SimulatedStage(
        seed=2, smear=smear, view=VIEW, um_per_px=UM_PER_PX, truth=truth, tour=tour
    )


def test_ten_tours_show_what_they_are_named_after() -> None:
    assert len(TOURS) == 10
    assert len({tour.name for tour in TOURS}) == 10
    assert any(tour.defocus for tour in TOURS)
    assert {tour.angle_deg for tour in TOURS} == {0.0, 2.0}
    assert {tour.drift for tour in TOURS} == {0.0, 0.03}
    assert sum(bool(tour.jumps) for tour in TOURS) >= 3


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.name)
def test_a_tour_stays_on_the_slide_and_jumps_only_where_it_says(tour: Tour) -> None:
    path = TourPath(tour, 1, REACH, 30.0)
    assert path.frames is not None
    poses = [path.pose(k) for k in range(path.frames)]
    assert poses == [TourPath(tour, 1, REACH, 30.0).pose(k) for k in range(path.frames)]
    places = np.array([(p.x_um, p.y_um) for p in poses])
    assert places.min() >= MARGIN_UM - 1e-6
    assert (places <= np.array(REACH) - MARGIN_UM + 1e-6).all()
    steps = np.hypot(*np.diff(places, axis=0).T)
    assert np.sum(steps > 100) == len(tour.jumps)
    assert np.sort(steps)[: len(steps) - len(tour.jumps)].max() <= tour.um_per_s / 30 * 1.02
    assert (max(p.blur_um for p in poses) > 0.5) == tour.defocus
    light = np.ptp([p.light for p in poses])
    assert (light > 0.02) == (tour.drift > 0)
    assert light <= 2 * tour.drift + 1e-9
    assert JUMP_UM_S > 1e6


def test_the_same_seed_composes_the_same_slide(smear: Smear) -> None:
    again = tour_slide(2, size_um=(440, 330))
    assert np.array_equal(again.image, smear.image)
    assert again.cells == smear.cells
    assert len(smear.cells) / (0.44 * 0.33) > 1200
    assert {"PL", ""}.isdisjoint(cell.code for cell in smear.cells)


def test_the_truth_of_a_turned_camera(smear: Smear, tmp_path: Path) -> None:
    stage = make(smear, "turned", tmp_path / "truth.jsonl")
    for number in (0, 200, 400):
        assert stage._truth is not None
        stage._truth.frame(number, stage.pose(number))
    stage.close()
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    cells = {line["cell"]: line for line in lines if "cell" in line}
    checked = 0
    for line in lines:
        if "frame" not in line:
            continue
        assert line["angle_deg"] == 2.0
        image = stage.render(line["frame"])
        for seen in line["cells"]:
            cell = cells[seen["id"]]
            away = axes(2.0).T @ (seen["x_px"] * UM_PER_PX, seen["y_px"] * UM_PER_PX)
            assert line["stage_x_um"] + away[0] == pytest.approx(cell["x_um"], abs=0.02)
            assert line["stage_y_um"] + away[1] == pytest.approx(cell["y_um"], abs=0.02)
            x, y = round(seen["x_px"]), round(seen["y_px"])
            if cell["code"] != "PL2" and 8 < x < VIEW[0] - 8 and 8 < y < VIEW[1] - 8:
                checked += 1
                assert image[y - 7 : y + 8, x - 7 : x + 8, 1].min() < 150
    assert checked > 60


def test_a_turned_picture_is_the_straight_one_turned(smear: Smear) -> None:
    stage = make(smear, "straight")
    straight = stage._camera._cut(Pose(40.0, 30.0, 0.0, False))
    turned = stage._camera._cut(Pose(40.0, 30.0, 0.0, False, 2.0))
    back = cv2.warpAffine(turned, np.column_stack([axes(2.0).T, [0, 0]]), VIEW)
    inner = (slice(60, 400), slice(60, 560))
    assert np.abs(back[inner].astype(int) - straight[inner]).mean() < 4


def test_a_tour_ends(smear: Smear) -> None:
    short = Tour("short", ((0, 0), (0.01, 0)))
    stage = SimulatedStage(smear=smear, view=VIEW, um_per_px=UM_PER_PX, tour=short)
    numbers = []
    while (frame := stage.read()) is not None:
        numbers.append(frame.index)
    assert stage.path.frames is not None
    assert 0 < len(numbers) <= stage.path.frames
    assert stage.read() is None
    stage.close()


def test_the_blur_of_each_frame_is_in_the_truth(smear: Smear, tmp_path: Path) -> None:
    stage = make(smear, "defocus", tmp_path / "truth.jsonl")
    stage._record(300)
    stage.close()
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    blurs = {line["frame"]: line["blur_um"] for line in lines if "frame" in line}
    assert blurs == {k: round(stage.pose(k).blur_um, 3) for k in range(301)}
    assert max(blurs.values()) > 0.5


def test_there_are_ten_tours_and_no_more() -> None:
    with pytest.raises(SourceError, match="no tour 10") as caught:
        open_tour(10)
    assert "0 to 9" in caught.value.hint
    with pytest.raises(SourceError, match="no tour"):
        open_source("sim", sim_tour=-1)
