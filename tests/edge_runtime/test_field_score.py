"""Where a field can be read, and the word for why not."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge.backends.fake import FakeBackend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.detect import open_detector
from heme_edge.field_score import READABLE, VERDICTS, score_field
from heme_edge.naming import Namer
from heme_edge.photos import decode_photo
from heme_edge.sim import draw_smear
from heme_edge.sim.palette import BACKGROUND
from tests.conftest import draw_field

UM_PER_PX = {"bccd": 0.072, "phone": 0.55, "chula": 0.19}


def smear(seed: int = 0, cells_per_mm2: float = 1700) -> Image:
    drawn = draw_smear(seed, width_um=320, height_um=200, um_per_px=0.25,
                       cells_per_mm2=cells_per_mm2)  # fmt: skip
    return drawn.image


def heap(layers: int) -> Image:
    """Smears upon each other: their shares of the light multiply."""
    light = np.ones_like(smear(), np.float32)
    for seed in range(layers):
        light *= smear(seed) / np.array(BACKGROUND, np.float32)
    return np.clip(np.rint(light * np.array(BACKGROUND)), 0, 255).astype(np.uint8)


def blurred(image: Image, sigma_um: float, um_per_px: float = 0.25) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_um / um_per_px), np.uint8)


def regions(image: Image, um_per_px: float = 0.25) -> list[str]:
    return [VERDICTS[i] for i in score_field(image, um_per_px).regions.ravel()]


@pytest.mark.parametrize(
    ("image", "verdict"),
    [
        (smear(), "readable"),
        (draw_field(), "readable"),
        (heap(4), "too-thick"),
        (heap(6), "too-thick"),
        (blurred(smear(), 1.2), "out-of-focus"),
        (blurred(smear(), 2.0), "out-of-focus"),
        (np.zeros((480, 640, 3), np.uint8), "black"),
        (np.full((480, 640, 3), 40, np.uint8), "black"),
        (np.full((480, 640, 3), 255, np.uint8), "saturated"),
        (np.full((480, 640, 3), 225, np.uint8), "empty"),
        (np.full((7, 5, 3), 225, np.uint8), "empty"),
    ],
)
def test_verdicts(image: Image, verdict: str) -> None:
    score = score_field(image, 0.25)
    assert score.verdict == verdict
    assert score.readable == (verdict == "readable")
    assert (score.rank > 0) == score.readable


@pytest.mark.parametrize("density", [800, 2500, 6000])
def test_a_monolayer_is_readable_everywhere_however_rich(density: float) -> None:
    assert set(regions(smear(3, density))) == {READABLE}


@pytest.mark.parametrize("light", [(0.6, 0.6, 0.6), (1.0, 0.85, 0.6), (0.7, 0.9, 1.0)])
def test_lamp_and_white_balance_do_not_matter(light: tuple[float, float, float]) -> None:
    for image, verdict in ((smear(), READABLE), (heap(5), "too-thick")):
        lit = np.rint(image * np.array(light)).astype(np.uint8)
        assert score_field(lit, 0.25).verdict == verdict


@pytest.mark.parametrize("um_per_px", [0.12, 0.25, 0.5])
def test_focus_is_judged_in_micrometres(um_per_px: float) -> None:
    def at(image: Image) -> Image:
        scale = 0.25 / um_per_px
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how), np.uint8)

    sharp, soft = smear(), blurred(smear(), 1.5)
    assert score_field(at(sharp), um_per_px).verdict == READABLE
    assert score_field(at(soft), um_per_px).verdict == "out-of-focus"
    assert score_field(at(soft), um_per_px).blur_um == pytest.approx(1.5, abs=0.3)


def test_each_region_is_judged_by_itself() -> None:
    image = smear()
    image[:, 640:] = blurred(image, 2.0)[:, 640:]
    score = score_field(image, 0.25)
    assert score.at(100, 400) == READABLE
    assert score.at(1200, 400) == "out-of-focus"
    image[:, 640:] = heap(5)[:, 640:]
    score = score_field(image, 0.25)
    assert (score.at(100, 400), score.at(1200, 400)) == (READABLE, "too-thick")


def test_bare_glass_beside_a_cell_is_empty_but_not_the_cell() -> None:
    image = np.full((800, 1200, 3), (238, 232, 236), np.uint8)
    cv2.circle(image, (600, 400), 12, (90, 40, 140), -1, cv2.LINE_AA)  # 6 µm: a small nucleus
    score = score_field(image, 0.25)
    assert score.verdict == READABLE
    assert score.at(600, 400) == READABLE
    assert score.at(50, 50) == "empty"


def test_a_known_level_of_glass_tells_a_heap_that_fills_the_field() -> None:
    image = heap(3)
    alone, known = score_field(image, 0.25), score_field(image, 0.25, glass=BACKGROUND[1])
    assert np.sum(known.regions == VERDICTS.index("too-thick")) >= np.sum(
        alone.regions == VERDICTS.index("too-thick")
    )


def test_a_detectors_map_of_thick_places_is_believed() -> None:
    thick = np.zeros((100, 160), np.bool_)
    thick[:, 80:] = True
    score = score_field(smear(), 0.25, thick=thick)
    assert (score.at(100, 400), score.at(1200, 400)) == (READABLE, "too-thick")


def test_cells_where_the_field_cannot_be_read_are_not_counted() -> None:
    image = smear()
    image[:, 640:] = blurred(image, 1.2)[:, 640:]
    bundle = load_bundle(None)
    namer = Namer(bundle, FakeBackend(len(bundle.codes)), open_detector())
    named = namer.name_field(image, 0.25)
    left = [c.reason for c in named.cells if c.cell.x_px < 540]
    right = [
        c.reason for c in named.cells if c.cell.x_px > 740
    ]  # the regions beyond the middle one
    assert len(left) > 20
    assert len(right) > 5
    assert "unreadable-field" not in left
    assert set(right) == {"unreadable-field"}


@pytest.fixture(scope="module")
def test_fields(heme_data: Path) -> dict[str, list[Image]]:
    """Real fields of the role ``test``, by source."""
    with (heme_data / "fields" / "split.csv").open(newline="") as file:
        wanted = {row["file"] for row in csv.DictReader(file) if row["role"] == "test"}
    found: dict[str, list[Image]] = {source: [] for source in UM_PER_PX}
    with tarfile.open(heme_data / "fields" / "fields.tar") as tar:
        for member in tar:
            if member.name in wanted and (data := tar.extractfile(member)):
                found[member.name.split("/")[0]].append(decode_photo(data.read()))
    return found


@pytest.mark.parametrize("source", list(UM_PER_PX))
def test_real_sharp_fields_are_readable(test_fields: dict[str, list[Image]], source: str) -> None:
    verdicts = [score_field(i, UM_PER_PX[source]).verdict for i in test_fields[source]]
    assert len(verdicts) >= 60
    assert verdicts.count(READABLE) >= 0.99 * len(verdicts)


@pytest.mark.parametrize("source", list(UM_PER_PX))
def test_real_fields_out_of_focus_are_told(
    test_fields: dict[str, list[Image]], source: str
) -> None:
    scale = UM_PER_PX[source]
    soft = [blurred(image, 1.5, scale) for image in test_fields[source][::4]]
    verdicts = [score_field(image, scale).verdict for image in soft]
    assert verdicts.count("out-of-focus") >= 0.95 * len(verdicts)
