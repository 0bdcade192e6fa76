"""Drawn cells look as their class should; real crops can take their place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.crops import CropSampler
from heme_edge.errors import SourceError
from heme_edge.sim import Smear, draw_smear
from heme_edge.sim.cells import Patch, draw_cell
from heme_edge.sim.palette import BACKGROUND
from heme_edge.sim.pasted import cut_cell, load_crops
from heme_edge.sim.recipes import NORMAL_MARROW, RECIPES, STAGES
from heme_edge.sim.shapes import NoiseBank
from heme_edge.sim.stage import SimulatedStage

SCALE = 0.25


def drawn(code: str, seed: int) -> Patch:
    rng = np.random.default_rng(seed)
    return draw_cell(code, rng, NoiseBank(rng, SCALE), SCALE)


def mean(code: str, measure: str) -> float:
    """Mean over ten cells: share of dark nucleus, redness of the cytoplasm, or radius."""
    values = []
    for seed in range(10):
        cell = drawn(code, seed)
        red, green, blue = np.moveaxis(cell.share, 2, 0)
        nucleus, body = green < 0.3, green < 0.85
        cytoplasm = body & ~nucleus
        values.append(
            {
                "nucleus": nucleus.sum() / body.sum(),
                "redness": float((red - blue)[cytoplasm].mean()),
                "radius": cell.radius_um,
            }[measure]
        )
    return float(np.mean(values))


@pytest.mark.parametrize("code", [*RECIPES, *STAGES])
def test_each_cell_is_drawn_in_the_middle_of_its_patch(code: str) -> None:
    cell = drawn(code, 1)
    side = cell.share.shape[0]
    assert cell.share.shape == (side, side, 3)
    assert side % 2 == 1
    assert cell.share.min() >= 0
    assert cell.share.max() <= 1
    assert cell.share[[0, -1]].min() > 0.97
    rows, columns = np.nonzero(cell.share[..., 1] < 0.9)
    assert abs(rows.mean() - side // 2) < 4
    assert abs(columns.mean() - side // 2) < 4


def test_sizes_and_colours_follow_the_textbook() -> None:
    assert mean("M1", "radius") > mean("M6", "radius") > mean("L2", "radius")
    assert mean("M2", "radius") > mean("M4", "radius")
    assert mean("M1", "nucleus") > mean("M3", "nucleus") > mean("M6", "nucleus")
    assert mean("ER2", "nucleus") > mean("ER3", "nucleus") > mean("ER4", "nucleus")
    assert mean("E4", "redness") > mean("M6", "redness") > mean("M1", "redness")


@pytest.fixture(scope="module")
def smear() -> Smear:
    return draw_smear(2, width_um=400, height_um=350, um_per_px=SCALE, cells_per_mm2=1200)


def test_a_smear_is_mixed_like_a_normal_marrow(smear: Smear) -> None:
    codes = [cell.code for cell in smear.cells if cell.code != "PL"]
    assert len(codes) == pytest.approx(168, abs=4)
    myeloid = sum(code in {"M1", "M2", "M3", "M4", "M5", "M6", "E4", "B2"} for code in codes)
    assert 1.8 < myeloid / codes.count("ER") < 3.2
    assert set(NORMAL_MARROW) - {"B2"} <= set(codes) | {"M1", "MO2"}


def test_cells_lie_inside_and_do_not_overlap(smear: Smear) -> None:
    at = np.array([(c.x_um, c.y_um, c.radius_um) for c in smear.cells])
    assert (at[:, :2] > at[:, 2:]).all()
    assert (at[:, :2] + at[:, 2:] < (400, 350)).all()
    gap = np.hypot(*(at[:, None, :2] - at[None, :, :2]).transpose(2, 0, 1))
    gap -= at[:, None, 2] + at[None, :, 2]
    np.fill_diagonal(gap, 1)
    assert gap.min() > -0.01
    assert (gap.min(1) < 2).mean() > 0.1
    assert [c.id for c in smear.cells] == list(range(len(smear.cells)))


def test_a_mix_of_one_class_draws_only_that(smear: Smear) -> None:
    only = draw_smear(2, width_um=150, height_um=150, mix={"E4": 1}, cells_per_mm2=500)
    assert {c.code for c in only.cells} - {"PL"} == {"E4"}


@pytest.fixture
def crops(tmp_path: Path, smear: Smear) -> Path:
    """Crops as a user has them: cut from a drawn field, in source/class folders."""
    sampler = CropSampler(smear.image, SCALE)
    for cell in smear.cells:
        if cell.code in {"M6", "ER"}:
            folder = tmp_path / "hospital" / cell.code
            folder.mkdir(parents=True, exist_ok=True)
            crop = sampler.cut(cell.x_um / SCALE, cell.y_um / SCALE)
            grey = (crop * np.array([0.8, 0.85, 1.0])).astype(np.uint8)
            cv2.imwrite(str(folder / f"{cell.id}.png"), grey[..., ::-1])
    (tmp_path / "hospital" / "unsorted").mkdir()
    cv2.imwrite(str(tmp_path / "hospital/unsorted/x.png"), np.zeros((96, 96, 3), np.uint8))
    return tmp_path


def test_real_crops_take_the_place_of_drawn_cells(crops: Path) -> None:
    real = load_crops(crops)
    assert set(real.files) == {"M6", "ER"}
    pasted = draw_smear(1, width_um=200, height_um=200, mix=real.mix(), draw=real.draw)
    again = draw_smear(1, width_um=200, height_um=200, mix=real.mix(), draw=real.draw)
    assert np.array_equal(pasted.image, again.image)
    assert {c.code for c in pasted.cells} == {"M6", "ER", "PL"}
    sampler = CropSampler(pasted.image, pasted.um_per_px)
    for cell in pasted.cells:
        if cell.code != "PL":
            cut = sampler.cut(cell.x_um / pasted.um_per_px, cell.y_um / pasted.um_per_px)
            assert (cut[24:72, 24:72, 1] < 110).mean() > 0.03


def test_a_pasted_cell_takes_the_colour_of_the_slide(crops: Path) -> None:
    path = load_crops(crops).files["M6"][0]
    crop = cv2.imread(str(path))
    assert crop is not None
    patch = cut_cell(np.ascontiguousarray(crop[..., ::-1]))
    assert patch.share[0].min() > 0.95
    assert 3 < patch.radius_um < 12
    assert min(BACKGROUND) > 200


def test_the_stage_shows_crops(crops: Path) -> None:
    stage = SimulatedStage(crops=crops, view=(320, 240))
    assert {c.code for c in stage.smear.cells} == {"M6", "ER", "PL"}
    stage.close()


@pytest.mark.parametrize("make", [False, True])
def test_a_crop_folder_with_nothing_in_it(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "crops"
    if make:
        folder.mkdir()
    with pytest.raises(SourceError, match="The crop folder"):
        SimulatedStage(crops=folder)


def test_crops_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "M1").mkdir()
    (tmp_path / "M1" / "a.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="cannot be read"):
        SimulatedStage(crops=tmp_path)
