"""µm/px of a camera from red cells, a stage micrometer or the objective."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.crops import Image
from heme_edge.errors import OpticsError
from heme_edge.optics.scale import (
    scale_from_micrometer,
    scale_from_objective,
    scale_from_red_cells,
)
from heme_edge.sim import draw_smear, slide

HAND = Path(__file__).parents[2] / "benchmarks/hand_measured_red_cells.csv"
DRAWN_UM_PER_PX = 0.2


def smear(seed: int = 6) -> Image:
    """A drawn marrow; its red cells are 7.5 µm across."""
    return draw_smear(seed, width_um=420, height_um=300, um_per_px=DRAWN_UM_PER_PX).image


def at_scale(image: Image, um_per_px: float) -> Image:
    zoom = DRAWN_UM_PER_PX / um_per_px
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=how), np.uint8)


def micrometer(
    period_px: float, angle_deg: float, blur_px: float = 1.0, lines: int | None = None
) -> Image:
    """Dark lines, each fifth and tenth longer, under uneven light."""
    height, width = 720, 1280
    y, x = (axis.astype(float) for axis in np.mgrid[:height, :width])
    x, y = x - width / 2, y - height / 2
    angle = np.radians(angle_deg)
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    number = np.rint(across / period_px)
    length = np.where(number % 10 == 0, 150, np.where(number % 5 == 0, 110, 80))
    ink = np.clip(0.5 + period_px / 8 - np.abs(across - number * period_px), 0, 1)
    ink *= (along > -60) & (along < length - 60)
    if lines is not None:
        ink *= (number >= 0) & (number < lines)
    light = (200 + 40 * x / width + 30 * y / height) * (1 - 0.8 * ink)
    light = cv2.GaussianBlur(light, (0, 0), blur_px)
    light += np.random.default_rng(0).normal(0, 3, light.shape)
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("um_per_px", [0.1, 0.2, 0.35, 0.5, 0.9])
def test_red_cells_of_a_drawn_smear_give_its_scale(um_per_px: float) -> None:
    scale = scale_from_red_cells([at_scale(smear(), um_per_px), at_scale(smear(7), um_per_px)])
    assert scale.um_per_px == pytest.approx(um_per_px, rel=0.05)
    assert scale.low95 <= um_per_px <= scale.high95
    assert scale.high95 / scale.um_per_px >= 1.08
    assert scale.um_per_px / scale.low95 >= 1.08
    assert scale.source == "red-cells"
    assert scale.cells >= 8


def test_red_cells_are_measured_in_dense_marrow() -> None:
    image = draw_smear(4, width_um=480, height_um=270, um_per_px=0.25, cells_per_mm2=1700).image
    assert scale_from_red_cells([image]).um_per_px == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("cast", [(1.0, 0.8, 0.6), (0.6, 0.8, 1.0), (0.4, 0.4, 0.4)])
def test_neither_lamp_nor_jpeg_changes_the_scale(cast: tuple[float, float, float]) -> None:
    plain = smear()
    seen = (plain * np.array(cast)).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    again = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
    ratio = scale_from_red_cells([again]).um_per_px / scale_from_red_cells([plain]).um_per_px
    assert ratio == pytest.approx(1, abs=0.03)


def test_the_black_surround_of_an_eyepiece_is_not_measured() -> None:
    image = smear()
    height, width = image.shape[:2]
    disc = np.zeros((height, width), np.uint8)
    cv2.circle(disc, (width // 2, height // 2), height // 2, 1, -1)
    scale = scale_from_red_cells([image * disc[..., None]])
    assert scale.um_per_px == pytest.approx(DRAWN_UM_PER_PX, rel=0.05)


def test_more_fields_narrow_the_interval_but_not_below_what_patients_differ() -> None:
    fields = [smear(seed) for seed in range(10, 14)]
    one, four = scale_from_red_cells(fields[:1]), scale_from_red_cells(fields)
    assert four.cells > one.cells
    assert 1.2 <= four.high95 / four.um_per_px <= one.high95 / one.um_per_px < 1.3


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((480, 640, 3), np.uint8), "The picture is black."),
        (
            np.full((480, 640, 3), 255, np.uint8),
            "The picture is saturated: it is white nearly everywhere.",
        ),
        (np.full((480, 640, 3), 190, np.uint8), "There are no red cells in the picture."),
    ],
    ids=["black", "saturated", "empty"],
)
def test_a_frame_with_nothing_to_measure_is_refused(image: Image, sentence: str) -> None:
    with pytest.raises(OpticsError) as error:
        scale_from_red_cells([image])
    assert error.value.message == sentence
    assert "--um-per-px" in error.value.hint


@pytest.mark.parametrize("blur_um", [1.5, 3.0, 8.0])
def test_a_field_out_of_focus_is_refused(blur_um: float) -> None:
    blurred = cv2.GaussianBlur(smear(), (0, 0), blur_um / DRAWN_UM_PER_PX)
    with pytest.raises(OpticsError, match=r"^The picture is out of focus\.$"):
        scale_from_red_cells([np.asarray(blurred, np.uint8)])


def clump(image: Image, x: int, y: int) -> None:
    """Seven red cells on one another."""
    for angle in np.linspace(0, 2 * np.pi, 7):
        middle = (round(x + 26 * np.cos(angle)), round(y + 20 * np.sin(angle)))
        cv2.circle(image, middle, 19, (200, 130, 130), -1, cv2.LINE_AA)
    cv2.ellipse(image, (x + 40, y), (34, 15), 30, 0, 360, (200, 130, 130), -1, cv2.LINE_AA)


def test_only_clumps_are_refused() -> None:
    image = np.full((480, 640, 3), 225, np.uint8)
    for x in range(80, 600, 150):
        for y in range(70, 450, 110):
            clump(image, x, y)
    with pytest.raises(OpticsError, match="There are only clumps or nucleated cells: "):
        scale_from_red_cells([image])


def test_too_few_red_cells_are_refused() -> None:
    image = np.full((480, 640, 3), 225, np.uint8)
    for x in (150, 350, 500):
        cv2.circle(image, (x, 200), 19, (200, 130, 130), -1, cv2.LINE_AA)
    with pytest.raises(OpticsError, match="There are too few red cells: 3 round ones, 8 are"):
        scale_from_red_cells([image])


def test_nucleated_cells_are_not_taken_for_red_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide, "RED_CELLS_PER_MM2", 0.0)
    for seed in range(3):
        with pytest.raises(OpticsError, match="clumps or nucleated cells"):
            scale_from_red_cells([smear(seed)])


def test_no_picture_is_refused() -> None:
    with pytest.raises(OpticsError, match="no picture"):
        scale_from_red_cells([])


def test_a_scale_no_microscope_has_is_refused() -> None:
    with pytest.raises(OpticsError, match=r"outside 0\.05 to 1\.0"):
        scale_from_red_cells([smear()], red_cell_um=75.0)


@pytest.mark.parametrize("period_px", [10.3, 23.7, 41.2, 97.5])
@pytest.mark.parametrize("angle_deg", [0.0, 7.3, 45.0, 90.0, -61.0])
def test_a_micrometer_gives_the_scale_at_any_angle(period_px: float, angle_deg: float) -> None:
    scale = scale_from_micrometer(micrometer(period_px, angle_deg, blur_px=1.5))
    assert scale.um_per_px == pytest.approx(10 / period_px, rel=0.005)
    assert scale.source == "micrometer"
    assert scale.cells >= 4


def test_a_division_of_another_length_is_taken_as_given() -> None:
    scale = scale_from_micrometer(micrometer(50.0, 12.0), division_um=20.0)
    assert scale.um_per_px == pytest.approx(0.4, rel=0.005)


@pytest.mark.parametrize(
    "image",
    [smear(), np.full((480, 640, 3), 190, np.uint8), np.zeros((480, 640, 3), np.uint8)],
    ids=["red cells", "empty", "black"],
)
def test_a_micrometer_photo_without_lines_is_refused(image: Image) -> None:
    with pytest.raises(OpticsError, match="There are no evenly spaced lines in the picture"):
        scale_from_micrometer(image)


def test_too_few_lines_are_refused() -> None:
    with pytest.raises(OpticsError, match="There are no evenly spaced lines in the picture"):
        scale_from_micrometer(micrometer(60.0, 5.0, lines=3))


def test_the_objective_gives_the_scale() -> None:
    scale = scale_from_objective(40, 3.45, 0.5)
    assert scale.um_per_px == pytest.approx(0.1725)
    assert scale.low95 < scale.um_per_px < scale.high95
    assert (scale.source, scale.cells) == ("objective", 0)


@pytest.mark.parametrize("numbers", [(0, 3.45, 1), (40, -1, 1), (40, 3.45, float("nan"))])
def test_an_objective_of_no_magnification_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(OpticsError):
        scale_from_objective(*numbers)


@pytest.mark.parametrize(
    ("name", "red_cell_um", "allowed"), [("chula", 7.5, 0.05), ("phone", 6.0, 0.1)]
)
def test_real_fields_agree_with_the_hand(
    heme_data: Path, name: str, red_cell_um: float, allowed: float
) -> None:
    import tarfile

    with HAND.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"].startswith(f"{name}/")]
    hand = red_cell_um / np.mean([float(row["diameter_px"]) for row in rows])
    with tarfile.open(heme_data / "fields/fields.tar") as tar:
        packed = {m.name.removeprefix("./").removeprefix("fields/"): m for m in tar.getmembers()}
        files = [tar.extractfile(packed[file]) for file in sorted({row["file"] for row in rows})]
        raw = [np.frombuffer(file.read(), np.uint8) for file in files if file is not None]
    images = [np.asarray(cv2.imdecode(one, cv2.IMREAD_COLOR)[..., ::-1], np.uint8) for one in raw]
    scale = scale_from_red_cells(images, red_cell_um)
    assert scale.um_per_px == pytest.approx(hand, rel=allowed)
    for zoom in (0.7, 1.4):  # 0.7 brings the red cells of the phone to 8 px, between two octaves
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        copies = [cv2.resize(one, None, fx=zoom, fy=zoom, interpolation=how) for one in images]
        again = scale_from_red_cells([np.asarray(one, np.uint8) for one in copies], red_cell_um)
        assert again.um_per_px * zoom == pytest.approx(scale.um_per_px, rel=0.03)
