"""Where a frame lies on the slide: against the truth of the simulated stage and scikit-image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.sim import Smear
from heme_edge.sim.camera import SimulatedCamera, axes
from heme_edge.sim.path import Pose
from heme_edge.sim.tours import tour_slide
from heme_edge.stage import FOUND, LOST, NEW, TRACKING, Join, Placement, StageTracker
from heme_edge.stage.keyframes import SlideMap, StillPattern, keyframe, keyframe_again
from heme_edge.stage.phase import (
    agrees_everywhere,
    match,
    match_coarsely,
    reduced,
    reduction,
    view_of,
)
from heme_edge.stage.tracker import TRACKED

VIEW, UM_PER_PX = (640, 480), 0.5
Places = NDArray[np.float64]
Spoil = Callable[[Image], Image]


@pytest.fixture(scope="module")
def smear() -> Smear:
    return tour_slide(4, size_um=(800, 560))


@pytest.fixture(scope="module")
def camera(smear: Smear) -> SimulatedCamera:
    return SimulatedCamera(smear, VIEW, UM_PER_PX, 4)


def line(*corners: tuple[float, float], step_um: float = 5.0) -> list[tuple[float, float]]:
    """Places on the way from corner to corner."""
    places = [corners[0]]
    for one, other in pairwise(corners):
        steps = max(1, round(np.hypot(other[0] - one[0], other[1] - one[1]) / step_um))
        places += [
            (one[0] + (other[0] - one[0]) * k / steps, one[1] + (other[1] - one[1]) * k / steps)
            for k in range(1, steps + 1)
        ]
    return places


def poses(places: Iterable[tuple[float, float]], angle_deg: float = 0.0) -> list[Pose]:
    return [Pose(x, y, 0.0, True, angle_deg) for x, y in places]


def go(
    camera: SimulatedCamera,
    way: Sequence[Pose],
    spoil: Spoil | None = None,
    tracker: StageTracker | None = None,
    sharp: Callable[[Pose], bool] = lambda _pose: True,
) -> tuple[list[Placement], list[Join]]:
    tracker = tracker or StageTracker(UM_PER_PX)
    placed: list[Placement] = []
    joins: list[Join] = []
    for frame, pose in enumerate(way):
        image = camera.render(frame, pose)
        place, joined = tracker.place(spoil(image) if spoil else image, frame / 30, sharp(pose))
        placed.append(place)
        joins += joined
    return placed, joins


def errors_um(placed: Sequence[Placement], way: Sequence[Pose]) -> Places:
    """From the first frame, in the camera's axes."""
    true = np.array([axes(p.angle_deg) @ (p.x_um, p.y_um) for p in way])
    here = np.array([(p.x_um, p.y_um) for p in placed])
    return np.asarray(np.hypot(*((here - here[0]) - (true - true[0])).T))


def plane(camera: SimulatedCamera, x_um: float, y_um: float, frame: int = 0) -> Image:
    return reduced(camera.render(frame, Pose(x_um, y_um, 0.0, False)))


@pytest.mark.parametrize("shift_um", [(0.0, 0.0), (7.3, -4.1), (-38.6, 21.2), (61.4, 40.7)])
def test_shifts_agree_with_scikit_image(
    camera: SimulatedCamera, shift_um: tuple[float, float]
) -> None:
    from skimage.registration import phase_cross_correlation

    one = view_of(plane(camera, 200, 150), None).plane
    other = view_of(plane(camera, 200 + shift_um[0], 150 + shift_um[1], 1), None).plane
    found = match(one, other, (0.0, 0.0))
    oracle, _error, _phase = phase_cross_correlation(one, other, upsample_factor=20)
    assert found is not None
    assert found.offset == pytest.approx(shift_um, abs=0.25)  # µm: the plane has 1 µm/px
    assert found.offset == pytest.approx((oracle[1], oracle[0]), abs=0.6)
    assert found.agreement > 0.7


@pytest.mark.parametrize("shift_um", [(150.0, -60.0), (-120.0, 95.0), (0.0, 140.0)])
def test_a_place_is_found_without_a_guess(
    camera: SimulatedCamera, shift_um: tuple[float, float]
) -> None:
    one = view_of(plane(camera, 240, 160), None)
    other = view_of(plane(camera, 240 + shift_um[0], 160 + shift_um[1], 1), None)
    rough = match_coarsely(one.coarse, other.coarse)
    assert (4 * rough.offset[0], 4 * rough.offset[1]) == pytest.approx(shift_um, abs=6)
    found = match(one.plane, other.plane, (4 * rough.offset[0], 4 * rough.offset[1]))
    assert found is not None
    assert found.offset == pytest.approx(shift_um, abs=0.3)
    assert agrees_everywhere(one.plane, other.plane, found.offset, 0.3)


def test_views_of_different_places_do_not_agree(camera: SimulatedCamera) -> None:
    one = view_of(plane(camera, 10, 10), None)
    other = view_of(plane(camera, 400, 300, 1), None)
    rough = match_coarsely(one.coarse, other.coarse)
    found = match(one.plane, other.plane, (4 * rough.offset[0], 4 * rough.offset[1]))
    assert found is None or found.agreement < 0.3


def test_a_single_cell_is_not_a_place() -> None:
    """One cell on bare glass looks like any other; it alone must not join two patches."""
    views = []
    for x, y in ((100, 90), (210, 160)):
        green = np.full((240, 320), 230, np.uint8)
        cv2.circle(green, (x, y), 6, 60, -1, cv2.LINE_AA)
        noise = np.random.default_rng(x).normal(0, 2, green.shape)
        views.append(view_of(np.clip(green + noise, 0, 255).astype(np.uint8), None).plane)
    offset = (-110.0, -70.0)
    found = match(*views, offset)
    assert found is not None
    assert found.agreement > 0.5
    assert not agrees_everywhere(*views, found.offset, 0.3)


def test_a_scan_is_placed_to_a_micrometre_and_does_not_drift(camera: SimulatedCamera) -> None:
    way = poses(line((12, 12), (460, 12), (460, 150), (12, 150), (12, 300), (460, 300)))
    placed, joins = go(camera, way)
    assert errors_um(placed, way).max() < 1.0
    assert {p.patch for p in placed} == {0}
    assert [p.state for p in placed] == [NEW] + [TRACKING] * (len(way) - 1)
    assert not joins
    moved = [p.moving_um for p in placed[1:]]
    assert np.median(moved) == pytest.approx(5.0, abs=0.3)


def test_coming_back_uses_the_keyframes_that_are_there(camera: SimulatedCamera) -> None:
    lap = [(20, 20), (440, 20), (440, 300), (20, 300), (20, 20)]
    tracker = StageTracker(UM_PER_PX)
    first, _ = go(camera, poses(line(*lap)), tracker=tracker)
    known = len(tracker._map)
    way = poses(line(*lap))
    again, _ = go(camera, way, tracker=tracker)
    assert len(tracker._map) == known
    assert np.hypot(again[0].x_um - first[0].x_um, again[0].y_um - first[0].y_um) < 1.0
    assert errors_um(again, way).max() < 1.0
    assert max(tracker.corrections_um) < 1.0


def test_a_jump_starts_a_patch_that_is_joined_where_it_meets_the_first(
    camera: SimulatedCamera,
) -> None:
    first, then = line((12, 12), (120, 12)), line((460, 300), (80, 80))
    way = poses(first + then)
    placed, joins = go(camera, way)
    states = [p.state for p in placed]
    at = len(first)
    assert states[at : at + 2] == [LOST, NEW]
    assert states.count(LOST) == 1
    assert placed[at + 1].patch == 1
    assert [(j.patch, j.into) for j in joins] == [(1, 0)]
    origin = way[at + 1].x_um - way[0].x_um, way[at + 1].y_um - way[0].y_um
    assert (joins[0].dx_um, joins[0].dy_um) == pytest.approx(origin, abs=1.0)
    assert placed[-1].patch == 0
    end = way[-1].x_um - way[0].x_um, way[-1].y_um - way[0].y_um
    assert (placed[-1].x_um, placed[-1].y_um) == pytest.approx(end, abs=1.0)


def test_a_jump_to_a_known_place_is_found_again(camera: SimulatedCamera) -> None:
    way = poses(line((12, 12), (400, 12), (400, 300)) + line((60, 40), (120, 40)))
    placed, joins = go(camera, way)
    assert placed[-1].patch == 0
    assert FOUND in {p.state for p in placed} or joins
    late = slice(-8, None)
    assert errors_um([placed[0], *placed[late]], [way[0], *way[late]]).max() < 1.0


def test_a_camera_turned_against_the_stage(camera: SimulatedCamera) -> None:
    way = poses(line((30, 30), (440, 30), (440, 200), (40, 180), (30, 30)), angle_deg=2.0)
    placed, _ = go(camera, way)
    assert errors_um(placed, way).max() < 1.0
    assert {p.patch for p in placed} == {0}


def test_a_fast_hand_is_followed(camera: SimulatedCamera) -> None:
    """90 µm from frame to frame, more than a quarter of the view, without warning."""
    way = poses(line((20, 20), (440, 20), (440, 300), (60, 100), step_um=90))
    placed, _ = go(camera, way)
    assert LOST not in {p.state for p in placed}
    assert errors_um(placed, way).max() < 1.0


def test_a_start_in_the_dark_does_not_matter(camera: SimulatedCamera) -> None:
    tracker = StageTracker(UM_PER_PX)
    rng = np.random.default_rng(1)
    for _ in range(3):
        tracker.place(rng.integers(0, 6, (VIEW[1], VIEW[0], 3), dtype=np.uint8))
    way = poses(line((20, 20), (200, 20)))
    placed, joins = go(camera, way, tracker=tracker)
    assert [p.state for p in placed[:3]] == [LOST, NEW, TRACKING]
    assert errors_um(placed[1:], way[1:]).max() < 1.0
    assert not joins


def spoiled(image: Image, least: float = 0.4) -> Image:
    """40 % less light in the corners, and 60 specks of dirt that stand still."""
    y, x = np.mgrid[-1 : 1 : VIEW[1] * 1j, -1 : 1 : VIEW[0] * 1j]
    light = (1 - 0.4 * (x * x + y * y) / 2).astype(np.float32)
    rng = np.random.default_rng(9)
    for _ in range(60):
        spot = int(rng.integers(VIEW[0])), int(rng.integers(VIEW[1]))
        dark = np.ones_like(light)
        cv2.circle(dark, spot, int(rng.integers(2, 12)), float(rng.uniform(least, 0.9)), -1)
        light *= cv2.GaussianBlur(dark, (0, 0), 1.0)
    return np.rint(image * light[..., None]).astype(np.uint8)


def test_dirt_and_vignette_do_not_hold_the_place(camera: SimulatedCamera) -> None:
    way = poses(line((12, 12), (460, 12), (460, 150), (12, 150), (12, 300), (460, 300)))
    placed, _ = go(camera, way, spoiled)
    assert [p.state for p in placed].count(LOST) == 0
    assert errors_um(placed, way).max() < 1.5


@pytest.mark.parametrize("least", [0.4, 0.7])
def test_dirt_on_bare_glass_counts_for_less_once_it_is_known(
    camera: SimulatedCamera, least: float
) -> None:
    """It stands still, so it would hold the place of a stage that moves over bare glass."""
    still = StillPattern()
    for k in range(12):
        image = camera.render(k, Pose(40.0 * k, 25.0 * k, 0.0, False))
        still.add(reduced(spoiled(image, least)))
    rng = np.random.default_rng(0)
    glass = [np.clip(rng.normal(232, 2, (VIEW[1], VIEW[0], 3)), 0, 255) for _ in range(2)]
    dirty = [reduced(spoiled(image.astype(np.uint8), least)) for image in glass]
    raw = match(*(view_of(green, None).plane for green in dirty), (0.0, 0.0))
    clean = match(*(view_of(green, still.pattern).plane for green in dirty), (0.0, 0.0))
    assert raw is not None
    assert clean is not None
    assert clean.agreement < raw.agreement - 0.15
    if least > 0.5:
        assert clean.agreement < TRACKED


def test_a_frame_out_of_focus_is_placed_but_is_no_keyframe(camera: SimulatedCamera) -> None:
    places = line((20, 20), (300, 20))
    way = [Pose(x, y, 2.0 if 20 <= k < 40 else 0.0, True) for k, (x, y) in enumerate(places)]
    tracker = StageTracker(UM_PER_PX)
    placed, _ = go(camera, way, tracker=tracker, sharp=lambda p: p.blur_um < 0.5)
    assert LOST not in {p.state for p in placed}
    assert errors_um(placed, way).max() < 1.5
    assert placed[30].quality < placed[10].quality
    assert all(k.sharp for k in tracker._map)


def test_a_long_stretch_out_of_focus_is_bridged(camera: SimulatedCamera) -> None:
    way = [
        Pose(x, y, 1.5 if x > 60 else 0.0, True) for x, y in line((20, 20), (440, 20), (440, 300))
    ]
    placed, _ = go(camera, way, sharp=lambda p: p.blur_um < 0.5)
    assert {p.patch for p in placed} == {0}
    assert errors_um(placed, way).max() < 3.0


def test_a_dark_lamp_is_lost_and_the_place_is_found_again(camera: SimulatedCamera) -> None:
    tracker = StageTracker(UM_PER_PX)
    way = poses(line((20, 20), (200, 20)))
    placed, _ = go(camera, way, tracker=tracker)
    rng = np.random.default_rng(0)
    for _ in range(5):
        dark = rng.integers(0, 6, (VIEW[1], VIEW[0], 3), dtype=np.uint8)
        place, joins = tracker.place(dark)
        assert (place.state, place.quality, joins) == (LOST, 0.0, ())
        assert (place.x_um, place.y_um) == (placed[-1].x_um, placed[-1].y_um)
    place, _ = tracker.place(camera.render(99, way[-1]))
    assert place.state == FOUND
    assert (place.x_um, place.y_um) == pytest.approx((placed[-1].x_um, placed[-1].y_um), abs=0.5)


def test_another_size_of_frame_begins_a_new_patch(camera: SimulatedCamera) -> None:
    tracker = StageTracker(UM_PER_PX)
    image = camera.render(0, Pose(50.0, 50.0, 0.0, False))
    tracker.place(image)
    place, _ = tracker.place(np.ascontiguousarray(image[:300, :400]))
    assert (place.state, place.patch) == (NEW, 1)
    assert tracker.place(np.ascontiguousarray(image[:7, :5]))[0].patch == 2


def test_a_tracker_that_knows_a_map_finds_its_place_in_it_at_once(camera: SimulatedCamera) -> None:
    before = StageTracker(UM_PER_PX)
    for k, pose in enumerate(poses(line((20, 20), (300, 20), (300, 60)))):
        before.place(camera.render(k, pose))
    known = tuple(keyframe_again(k.levels, (k.x, k.y), k.patch, k.sharp) for k in before.keyframes)
    after = StageTracker(UM_PER_PX, before.patches, known)
    placed, joins = after.place(camera.render(900, Pose(210.0, 23.0, 0.0, True)))
    assert (placed.state, placed.patch, joins) == (FOUND, 0, ())
    assert np.hypot(placed.x_um - 190, placed.y_um - 3) < 1
    elsewhere = StageTracker(UM_PER_PX, before.patches, known)
    placed, _ = elsewhere.place(camera.render(901, Pose(60.0, 310.0, 0.0, True)))
    assert (placed.state, placed.patch) == (NEW, 1)
    seen = [elsewhere.place(camera.render(902 + k, pose))
            for k, pose in enumerate(poses(line((60, 310), (60, 60))))]  # fmt: skip
    assert [(j.patch, j.into) for _, some in seen for j in some] == [(1, 0)]
    other_size = StageTracker(UM_PER_PX, before.patches, known)
    small = np.ascontiguousarray(camera.render(990, Pose(210.0, 23.0, 0.0, True))[:240, :320])
    assert other_size.place(small)[0].state == NEW


@pytest.mark.parametrize(("width", "factor"), [(416, 1), (640, 2), (1280, 4), (1920, 4), (2592, 8)])
def test_frames_are_halved_until_they_are_small(width: int, factor: int) -> None:
    assert reduction(width) == factor
    image = np.random.default_rng(0).integers(0, 255, (width // 2, width, 3), dtype=np.uint8)
    small = reduced(image)
    assert small.shape == (width // 2 // factor, width // factor)
    assert small.mean() == pytest.approx(image[..., 1].mean(), abs=2)


def test_the_map_is_bounded_and_drops_where_it_is_densest(camera: SimulatedCamera) -> None:
    view = view_of(plane(camera, 100, 100), None)
    slide = SlideMap(most=12)
    for k in range(30):
        slide.add(keyframe(view, (20.0 * k, 0.0), 0, sharp=True))
        assert len(slide) <= 12
    slide.add(keyframe(view, (5000.0, 0.0), 0, sharp=True))
    xs = sorted(k.x for k in slide)
    assert xs[-1] == 5000.0
    assert max(np.diff(xs[:-1])) < 160  # half a view: no hole
    assert slide.near(0, (5000.0, 0.0))[0][0] == pytest.approx(1.0)


def test_a_frame_of_1280x960_is_placed_in_a_few_milliseconds(smear: Smear) -> None:
    camera = SimulatedCamera(smear, (1280, 960), 0.25, 4)
    tracker, times = StageTracker(0.25), []
    for frame, (x, y) in enumerate(line((12, 12), (160, 12))):
        image = camera.render(frame, Pose(x, y, 0.0, True))
        started = time.perf_counter()
        tracker.place(image, frame / 30)
        times.append(time.perf_counter() - started)
    assert np.median(times) < 0.015  # about 0.002 alone
