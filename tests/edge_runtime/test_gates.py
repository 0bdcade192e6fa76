"""Why a frame is not used, and how sharp it is."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from heme_edge.crops import Image
from heme_edge.gates import REASONS, Gates, Look
from heme_edge.sim import Smear
from heme_edge.sim.camera import SimulatedCamera
from heme_edge.sim.palette import BACKGROUND
from heme_edge.sim.path import Pose
from heme_edge.sim.tours import tour_slide
from heme_edge.stage import LOST, TRACKING, Placement

VIEW, UM_PER_PX = (1280, 960), 0.25


@pytest.fixture(scope="module")
def smear() -> Smear:
    return tour_slide(6, size_um=(520, 400))


@pytest.fixture(scope="module")
def camera(smear: Smear) -> SimulatedCamera:
    return SimulatedCamera(smear, VIEW, UM_PER_PX, 6)


def frame(camera: SimulatedCamera, number: int, blur_um: float = 0.0) -> Image:
    x, y = np.random.default_rng(number).uniform(5, 150, 2)
    return camera.render(number, Pose(float(x), float(y), blur_um, False))


def smeared(image: Image, length_um: float, turn: float = 0.0) -> Image:
    """A move of so many µm while the shutter was open."""
    side = 2 * int(length_um / UM_PER_PX) + 5
    kernel = np.zeros((side, side), np.float32)
    dot = np.zeros_like(kernel)
    dot[side // 2, side // 2] = 1
    for away in np.linspace(-0.5, 0.5, 101) * length_um / UM_PER_PX:
        shift = np.array([[1, 0, away * np.cos(turn)], [0, 1, away * np.sin(turn)]])
        kernel += cv2.warpAffine(dot, shift, (side, side))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def placed(moving_um: float, state: str = TRACKING) -> Placement:
    return Placement(0.0, 0.0, 0, 0.9, state, moving_um)


def seen(camera: SimulatedCamera, frames: int = 8) -> Gates:
    """Gates that know how sharp this scene can be."""
    gates = Gates(UM_PER_PX)
    for number in range(frames):
        assert gates.look(frame(camera, number)).sharp
    return gates


@pytest.mark.parametrize("turn", [0.0, 0.5, np.pi / 4])
def test_a_smeared_frame_is_moving_and_a_still_one_out_of_focus(
    camera: SimulatedCamera, turn: float
) -> None:
    gates = seen(camera)
    look = gates.look(smeared(frame(camera, 20), 5.0, turn))
    assert not look.sharp
    assert look.smear_um > 0.8
    assert gates.reason(look, placed(5.0)) == "moving"
    assert gates.reason(look, placed(0.0, LOST)) == "moving"
    assert gates.reason(look, placed(0.1)) == "out-of-focus"


def test_a_sharp_frame_of_a_moving_stage_is_used(camera: SimulatedCamera) -> None:
    gates = seen(camera)
    look = gates.look(smeared(frame(camera, 20), 1.0))
    assert gates.reason(look, placed(8.0)) == ""
    assert gates.reason(look, placed(8.0, LOST)) == "not-placed"


@pytest.mark.parametrize(
    ("blur_um", "used"), [(0.3, True), (0.5, True), (0.8, False), (1.5, False)]
)
def test_focus_is_judged_beside_the_sharpest_of_the_scene(
    camera: SimulatedCamera, blur_um: float, used: bool
) -> None:
    gates = seen(camera)
    for number in range(20, 26):
        look = gates.look(frame(camera, number, blur_um))
        assert gates.reason(look, placed(3.0)) == ("" if used else "out-of-focus")
        assert (look.focus > 0.5) == used


def test_the_focus_bar_falls_with_the_blur(camera: SimulatedCamera) -> None:
    gates = seen(camera)
    blurs = (0.0, 0.3, 0.5, 0.8, 1.2, 2.0)
    bar = [gates.look(frame(camera, 30, blur)).focus for blur in blurs]
    assert bar == sorted(bar, reverse=True)
    assert bar[0] > 0.8
    assert bar[-1] < 0.2


def test_a_scene_that_was_never_sharp_is_out_of_focus(camera: SimulatedCamera) -> None:
    gates = Gates(UM_PER_PX)
    assert [gates.look(frame(camera, k, 1.5)).reason for k in range(5)] == ["out-of-focus"] * 5


def test_the_sharpest_of_a_softer_lens_is_what_counts(camera: SimulatedCamera) -> None:
    """A lens that blurs by 0.5 µm leaves room for as much defocus as a good one does."""
    gates = Gates(UM_PER_PX)
    for number in range(8):
        assert gates.look(frame(camera, number, 0.5)).sharp
    assert gates.look(frame(camera, 20, float(np.hypot(0.5, 0.3)))).sharp
    assert not gates.look(frame(camera, 21, 1.0)).sharp


def heap(smear: Smear) -> Image:
    """The slide upon itself, five times: what comes through multiplies."""
    lamp = np.array(BACKGROUND, np.float32)
    light = np.minimum(smear.image[:1200, :1600] / lamp, 1)
    for turn in ((1, 0), (0, 1), (1, 1)):
        light = light * np.roll(light, (137 * turn[0], 211 * turn[1]), (0, 1))
    return np.clip(light * lamp, 0, 255).astype(np.uint8)


def test_light_and_thickness(smear: Smear) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (VIEW[1], VIEW[0], 3))
    for level, reason in ((10, "black"), (45, "black"), (228, "empty"), (255, "saturated")):
        flat = np.clip(level + noise, 0, 255).astype(np.uint8)
        look = Gates(UM_PER_PX).look(flat)
        assert (look.reason, look.focus) == (reason, 0.0)
    assert Gates(0.2).look(heap(smear)).reason == "too-thick"


def test_a_round_field_of_an_eyepiece(camera: SimulatedCamera) -> None:
    """The black surround neither makes a frame black nor hides that the glass is empty."""
    disc = np.zeros((VIEW[1], VIEW[0], 1), np.uint8)
    cv2.circle(disc, (640, 480), 470, 1, -1)
    assert Gates(UM_PER_PX).look(frame(camera, 1) * disc).sharp
    glass = np.full((VIEW[1], VIEW[0], 3), 228, np.uint8)
    assert Gates(UM_PER_PX).look(glass * disc).reason == "empty"


def test_a_tiny_picture_has_no_focus() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    look = Gates(UM_PER_PX).look(image)
    assert look.focus == 0.0
    assert look.sharp


def test_every_reason_is_of_the_list(camera: SimulatedCamera) -> None:
    gates = seen(camera)
    for look in (Look("", 1.0), Look("moving", 0.1, 1.0, 1.0), Look("empty", 0.0)):
        for place in (placed(0.0), placed(9.0), placed(0.0, LOST)):
            assert gates.reason(look, place) in ("", *REASONS)


def test_a_frame_is_judged_in_a_millisecond_or_two(camera: SimulatedCamera) -> None:
    gates, image, times = seen(camera), frame(camera, 3), []
    for _ in range(30):
        started = time.perf_counter()
        gates.look(image)
        times.append(time.perf_counter() - started)
    assert np.median(times) < 0.010
