"""Measuring a profile: what was planted is found and taken away, and bad pictures are refused."""

import numpy as np
import pytest

from heme_edge.crops import Image
from heme_edge.errors import OpticsError
from heme_edge.optics.apply import Corrector
from heme_edge.optics.flat_field import gains_from_fields
from heme_edge.optics.measure import ScaleRequest, measure_profile
from heme_edge.optics.profile import GRID, OpticsProfile
from heme_edge.optics.watch import watch
from heme_edge.sim.palette import BACKGROUND
from heme_edge.sim.stage import SimulatedStage
from tests.edge_runtime.optics_parts import GAINS, SIZE, UM_PER_PX, dimmed, light, smears

GIVEN = ScaleRequest(UM_PER_PX)


def measure(images: list[Image], blanks: list[Image] | None = None) -> OpticsProfile:
    return measure_profile(images, blanks or [], GIVEN, lambda _: None)


def unevenness(profile: OpticsProfile, by: np.ndarray) -> float:
    """Largest relative difference of an empty slide from its middle colour, noise averaged out."""
    noise = np.random.default_rng(0).normal(0, 1.5, (*SIZE[::-1], 3))
    empty = np.clip(np.rint(np.array(BACKGROUND) * by + noise), 0, 255).astype(np.uint8)
    darker = [0.85 * value for value in profile.white_rgb]  # a clipped channel would look even
    seen = Corrector(profile, darker).correct(empty).astype(float)
    blocks = seen.reshape(SIZE[1] // 20, 20, SIZE[0] // 20, 20, 3).mean((1, 3))
    return float(np.abs(blocks / np.median(blocks, (0, 1)) - 1).max())


@pytest.mark.parametrize(("count", "left"), [(1, 0.03), (6, 0.02)])
def test_vignette_from_fields(count: int, left: float) -> None:
    by = light(0.4)
    profile = measure([dimmed(image, by) for image in smears(count)])
    assert unevenness(profile, by) < left


def test_what_lies_over_most_of_a_field_does_not_bend_its_light() -> None:
    """A free surface of degree 4 followed faint cover in one dense field: 6 % was left, not 1 %."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID), indexing="ij")
    by, left = 1 - 0.4 * (x * x + y * y) / 2, []
    for seed in range(7):
        rng = np.random.default_rng(seed)
        cover = np.where(rng.random(GRID) < 0.7, rng.uniform(0.7, 1.0, GRID), 1.0)
        grey = np.kron(200 * by * cover, np.ones((20, 20)))[..., None]
        field = np.clip(np.rint(grey + rng.normal(0, 1.5, (*grey.shape[:2], 3))), 0, 255)
        gains = gains_from_fields([field.astype(np.uint8)], np.ones(GRID, bool))
        assert gains is not None
        seen = gains * by[..., None]
        left.append(np.abs(seen / np.median(seen, (0, 1)) - 1).max())
    assert np.median(left) < 0.02


def test_vignette_from_blanks() -> None:
    by = light(0.4)
    blank = dimmed(np.full((SIZE[1], SIZE[0], 3), 235, np.uint8), by)
    profile = measure([dimmed(image, by) for image in smears(1)], [blank, blank])
    assert unevenness(profile, by) < 0.02


def test_white_point_is_mapped() -> None:
    by, target = light(0.4), (255.0, 229.0, 202.0)
    profile = measure([dimmed(image, by) for image in smears(4)])
    empty = dimmed(np.full((SIZE[1], SIZE[0], 3), BACKGROUND, np.uint8), np.array(GAINS))
    darker = tuple(0.85 * value for value in target)
    middle = Corrector(profile, darker).correct(empty)[250:290, 440:520].mean((0, 1)) / target
    assert np.abs(middle / middle.mean() - 1).max() < 0.02


def test_round_field_is_found() -> None:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    disc = np.hypot(x - 500, y - 270) < 240
    images = [np.where(disc[..., None], image, 3).astype(np.uint8) for image in smears(3)]
    field = measure(images).round_field
    assert field is not None
    found = (field.x * SIZE[0], field.y * SIZE[1], field.radius * SIZE[0])
    assert np.abs(np.subtract(found, (500, 270, 240))).max() < 8
    assert measure(smears(1)).round_field is None


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((540, 960, 3), np.uint8), "are black"),
        (np.full((540, 960, 3), 255, np.uint8), "overexposed"),
    ],
)
def test_pictures_without_light_or_with_too_much(image: Image, sentence: str) -> None:
    with pytest.raises(OpticsError, match=sentence):
        measure([image, image])


def test_overexposed_blanks() -> None:
    blank = np.full((540, 960, 3), 230, np.uint8)
    blank[:200] = 255
    images = smears(1)
    with pytest.raises(OpticsError, match="blank picture is overexposed"):
        measure(images, [blank])


def test_pictures_of_different_sizes() -> None:
    with pytest.raises(OpticsError, match="different sizes"):
        measure([smears(1)[0], np.full((100, 100, 3), 200, np.uint8)])


def test_the_objective_wins_over_red_cells_and_the_difference_is_said() -> None:
    said: list[str] = []
    wanted = ScaleRequest(objective=40, pixel_um=6.0)
    profile = measure_profile(smears(2), [], wanted, said.append)
    assert (profile.um_per_px, profile.um_per_px_source) == (0.15, "objective")
    assert any("Red cells disagree" in line for line in said)


def test_an_objective_needs_the_size_of_pixels() -> None:
    with pytest.raises(OpticsError, match="objective alone"):
        measure_profile(smears(1), [], ScaleRequest(objective=40), lambda _: None)


def test_watching_the_stage() -> None:
    source = SimulatedStage(seed=1, view=(320, 240))
    try:
        assert len(watch(source, 2)) == 2
    finally:
        source.close()
