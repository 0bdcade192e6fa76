import cv2
import numpy as np
import pytest

from heme_edge.crops import Image
from heme_train.augment import Augmenter, Look, Strength, centre
from heme_train.stain import Styles, measure_style, random_stain
from tests.conftest import draw_cell

CELL = draw_cell(128)


def test_same_generator_same_crop() -> None:
    augment = Augmenter(Strength())
    one = augment(Look(CELL), Look(draw_cell(98)), np.random.default_rng(5))
    two = augment(Look(CELL), Look(draw_cell(98)), np.random.default_rng(5))
    assert one.shape == (96, 96, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, two)
    assert not np.array_equal(one, augment(Look(CELL), None, np.random.default_rng(6)))


@pytest.mark.parametrize("side", [60, 96, 98, 128])
def test_any_side(side: int) -> None:
    assert centre(draw_cell(side)).shape == (96, 96, 3)
    assert (
        Augmenter(Strength())(Look(draw_cell(side)), None, np.random.default_rng(0)).shape[0] == 96
    )


def test_margin_of_a_larger_crop_never_shows() -> None:
    """The border of a rotated crop must not tell a 128 px source from a 98 px one."""
    wide = np.full((128, 128, 3), 255, np.uint8)
    wide[16:112, 16:112] = draw_cell(96)
    narrow = draw_cell(96)
    augment = Augmenter(Strength())
    for seed in range(10):
        a = augment(Look(wide), None, np.random.default_rng(seed))
        b = augment(Look(narrow), None, np.random.default_rng(seed))
        assert np.array_equal(a, b)


def test_no_mixing_changes_nothing() -> None:
    same = random_stain(0.0, 0.0, np.random.default_rng(0)).apply(CELL)
    assert np.abs(same.astype(int) - CELL).max() <= 1


def test_stain_mixing_keeps_dark_dark() -> None:
    mixed = random_stain(0.2, 0.1, np.random.default_rng(1)).apply(CELL)
    assert mixed[64, 64].mean() < mixed[5, 5].mean() - 40


def test_maps_in_sequence_are_one_map() -> None:
    rng = np.random.default_rng(2)
    first, second = random_stain(0.2, 0.1, rng), random_stain(0.2, 0.1, rng)
    both = second.after(first)
    density = np.array([0.3, 0.7, 0.2])
    once = first.matrix @ density + first.offset
    assert both.matrix @ density + both.offset == pytest.approx(
        second.matrix @ once + second.offset
    )


def test_transfer_goes_towards_the_other_source() -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(CELL + rng.normal(0, 8, CELL.shape), 0, 255).astype(np.uint8)
    other = random_stain(0.3, 0.2, np.random.default_rng(3)).apply(noisy)
    styles = Styles({"a": measure_style([noisy]), "b": measure_style([other])})
    gaps = []
    for _ in range(20):
        moved = measure_style([styles.transfer("a", rng).apply(noisy)])
        gaps.append(np.abs(moved.mean - styles.styles["b"].mean).sum())
    start = np.abs(styles.styles["a"].mean - styles.styles["b"].mean).sum()
    assert min(gaps) < 0.1 * start
    assert max(gaps) <= start * 1.01


def test_unmeasured_source_is_left_alone() -> None:
    styles = Styles({"a": measure_style([CELL])})
    for source in ("a", "unknown"):
        assert np.array_equal(styles.transfer(source, np.random.default_rng(0)).matrix, np.eye(3))


def scene(rng: np.random.Generator) -> Image:
    """A drawn cell on a mottled ground, 128 px: the same for every source."""
    ground = cv2.resize(rng.integers(150, 245, (16, 16, 3)).astype(np.uint8), (128, 128))
    return np.where(draw_cell(128) < 200, draw_cell(128), ground).astype(np.uint8)


def border(image: Image) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The outermost 4 px, coarsely: brightness, colour and roughness along each side."""
    strips = [image[:4], image[-4:], image[:, :4].swapaxes(0, 1), image[:, -4:].swapaxes(0, 1)]
    parts = [strip.reshape(4, 16, 6, 3).mean((0, 2)) for strip in strips]
    rough = [np.abs(np.diff(strip.astype(float), axis=axis)).mean((0, 1)) for strip in strips
             for axis in (0, 1)]  # fmt: skip
    return np.concatenate([np.ravel(parts), np.ravel(rough)])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_border_pixels_do_not_tell_the_source() -> None:
    """Sources of 98 and 128 px crops of the same scenes, told apart by a network at chance only."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(7)
    augment = Augmenter(Strength())
    scenes = [scene(rng) for _ in range(1200)]
    source = np.arange(len(scenes)) % 2
    looks = [Look(image if wide else centre(image, 98), str(wide))
             for image, wide in zip(scenes, source, strict=True)]  # fmt: skip
    shown = [augment(look, looks[(i * 7 + 3) % 1200], rng) for i, look in enumerate(looks)]
    features = StandardScaler().fit_transform(np.stack([border(image) for image in shown]))
    network = MLPClassifier((32,), alpha=1.0, max_iter=60, random_state=0)
    network.fit(features[:800], source[:800])
    right = (network.predict(features[800:]) == source[800:]).mean()
    assert abs(right - 0.5) < 4 * 0.5 / np.sqrt(400), right
