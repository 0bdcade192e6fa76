import numpy as np
import pytest

from heme_edge.crops import CropSampler, centre_crop, cut_crops
from heme_edge.results import DetectedCell
from tests.conftest import draw_cell


def test_same_scale_is_cut_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    crop = CropSampler(image, 0.25).cut(99.5, 119.5)
    assert np.array_equal(crop, image[72:168, 52:148])


@pytest.mark.parametrize("um_per_px", [0.072, 0.1, 0.2, 0.25, 0.5])
def test_same_physical_scene_gives_the_same_crop(um_per_px: float) -> None:
    """A disc of 6 µm radius is 24 px in the crop, whatever the camera's scale."""
    side = round(60 / um_per_px)
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - (side - 1) / 2, y - (side - 1) / 2) * um_per_px < 6.0
    image = np.where(disc[..., None], 0, 255).astype(np.uint8).repeat(3, axis=2)
    crop = CropSampler(image, um_per_px).cut((side - 1) / 2, (side - 1) / 2)
    dark = crop[..., 0] < 128
    assert np.sqrt(dark.sum() / np.pi) == pytest.approx(24, rel=0.03)
    ys, xs = np.nonzero(dark)
    assert (xs.mean(), ys.mean()) == pytest.approx((47.5, 47.5), abs=0.6)


def test_strong_reduction_does_not_alias() -> None:
    """One-pixel stripes at 0.07 µm/px are beyond what 0.25 can show: the crop is flat grey."""
    image = np.zeros((600, 600, 3), np.uint8)
    image[:, ::2] = 255
    crop = CropSampler(image, 0.0714).cut(300, 300)
    assert crop[16:80, 16:80].std() < 12


def test_border_is_mirrored_and_no_cells_is_an_empty_batch() -> None:
    image = draw_cell(96)
    cells = [DetectedCell(0, 0, 10, 1.0)]
    assert cut_crops(image, cells, 0.25).shape == (1, 96, 96, 3)
    assert cut_crops(image, cells, 0.25).min() > 0
    assert cut_crops(image, [], 0.25).shape == (0, 96, 96, 3)


def test_centre_crop_of_a_larger_image() -> None:
    image = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    assert np.array_equal(centre_crop(image, 0.25), image[16:112, 16:112])
