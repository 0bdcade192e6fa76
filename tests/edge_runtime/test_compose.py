"""Composed fields: every cell's place is known, and the picture shows it there."""

from __future__ import annotations

import csv
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heme_edge.photos import decode_photo
from heme_edge.results import DetectedCell
from heme_edge.sim.compose import CELL, LARGE, Composed, Marrow, compose
from heme_edge.sim.crowd import Crowd, touching
from heme_edge.sim.cutting import cut_out
from heme_edge.sim.ground import Ground, ground_of
from heme_edge.sim.lens import Lens, in_view, photograph, random_lens, through
from heme_edge.sim.scoring import pairs, score
from heme_edge.sim.stock import Stock, stock_of
from tests.conftest import draw_cell

DRAWN = Stock({})
SIZE = {"width_px": 480, "height_px": 360, "um_per_px": 0.5}


def field(seed: int = 1, **changes: object) -> Composed:
    marrow = replace(Marrow(drawn=1.0), **changes)  # type: ignore[arg-type]  # fields by name
    return compose(DRAWN, np.random.default_rng(seed), marrow=marrow, **SIZE)  # type: ignore[arg-type]  # of one type each


def test_the_same_seed_gives_the_same_field() -> None:
    one, other, third = field(1), field(1), field(2)
    assert np.array_equal(one.image, other.image)
    assert one.cells == other.cells
    assert not np.array_equal(one.image, third.image)


def test_the_picture_shows_nuclei_where_the_truth_has_cells() -> None:
    made = field(3, touching=0.0, clumps=0.0, smudges=0.0, large=0.0)
    cells = [c for c in made.nucleated() if 20 < c.x_px < 460 and 20 < c.y_px < 340]
    assert len(cells) > 15
    red = made.image[..., 0]
    dark = [red[round(c.y_px) - 4 :, round(c.x_px) - 4 :][:9, :9].min() < 150 for c in cells]
    assert np.mean(dark) > 0.9
    assert np.median(made.image[..., 0]) > 190


def test_cells_touch_as_often_as_asked() -> None:
    loose, crowded = field(4, touching=0.0), field(4, touching=0.95)
    shares = [np.mean([c.touching for c in made.nucleated()]) for made in (loose, crowded)]
    assert shares[0] < 0.5 < 0.8 < shares[1]


def test_all_kinds_are_composed() -> None:
    made = field(5, clumps=300.0, smudges=300.0, large=60.0, holes=60.0, mitoses=0.2)
    assert {c.kind for c in made.cells} == {"cell", "platelet-clump", "large", "smudge"}
    assert any(c.code == "U4" for c in made.cells)
    assert all(c.radius_px * 0.5 > 12 for c in made.cells if c.kind == LARGE)


def test_what_is_too_thick_is_darker_and_said() -> None:
    thick = field(6, thick=0.4)
    assert 0.2 < thick.thick.mean() < 0.6
    grey = thick.image.mean(axis=2)
    assert grey[thick.thick].mean() < grey[~thick.thick].mean() - 20
    assert all(not c.thick for c in thick.nucleated())


@pytest.mark.parametrize("barrel", [0.0, 0.06])
def test_places_go_through_the_lens_with_the_picture(barrel: float) -> None:
    share = np.ones((200, 300, 3), np.float32)
    spots = np.array([[40.0, 30.0], [150.0, 100.0], [270.0, 180.0]])
    for x, y in spots.astype(int):
        share[y - 2 : y + 3, x - 2 : x + 3] = 0.05
    lens = Lens(barrel=barrel, blur_um=0.0, noise=0.0, vignette=0.0)
    dark = 255 - photograph(share, 0.5, lens, np.random.default_rng(0))[..., 1].astype(float)
    dark[dark < 60] = 0
    for x, y in through(spots, (200, 300), lens):
        rows, columns = np.mgrid[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9]
        weight = dark[rows, columns]
        assert abs((columns * weight).sum() / weight.sum() - x) < 0.6
        assert abs((rows * weight).sum() / weight.sum() - y) < 0.6


def test_a_round_field_hides_its_corners() -> None:
    lens = replace(random_lens(np.random.default_rng(0)), round_field=True, barrel=0.0)
    seen = in_view(np.array([[5.0, 5.0], [150.0, 100.0]]), (200, 300), lens)
    assert seen.tolist() == [False, True]


def test_random_lenses_stay_within_8_bits() -> None:
    share = np.full((40, 40, 3), 0.5, np.float32)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        image = photograph(share, 0.5, random_lens(rng), rng)
        assert image.dtype == np.uint8
        assert image.shape == share.shape


def test_a_real_ground_is_mirrored_over_the_field() -> None:
    tile = np.full((60, 80, 3), 200, np.uint8)
    tile[20:30, 20:30] = 90
    ground = ground_of(tile, 0.5)
    assert int(ground.share[0, 0, 0]) == 255
    stock = Stock({}, (Ground(ground.share, 0.5),))
    made = compose(stock, np.random.default_rng(0), marrow=Marrow(cells=0, platelets=0, clumps=0,
                   smudges=0, large=0, holes=0), ground=0, **SIZE)  # type: ignore[arg-type]  # fmt: skip  # of one type each
    dark = made.image[..., 1] < 150
    assert 0.5 < dark.mean() / (100 / 4800) < 2.0


def test_a_crowd_leaves_room_or_says_there_is_none() -> None:
    crowd = Crowd(60.0, 60.0, np.random.default_rng(0))
    spots = [crowd.place(6.0) for _ in range(60)]
    found = np.array([s for s in spots if s])
    assert None in spots
    away = np.hypot(*(found[:, None] - found).transpose(2, 0, 1))
    np.fill_diagonal(away, np.inf)
    assert away.min() >= 12.0
    assert not touching(found[:, 0], found[:, 1], np.full(len(found), 5.0)).any()


def test_a_drawn_cell_is_cut_out_whole() -> None:
    cut = cut_out(draw_cell(96, nucleus=16, cell=26))
    assert cut.clean
    assert abs(cut.radius_um - 26 * 0.25) < 0.7
    assert cut.off_um < 0.3
    assert cut.mask[cut.mask.shape[0] // 2, cut.mask.shape[1] // 2] == 255
    assert cut.mask[0].max() < 20


def test_half_a_cell_is_left_out() -> None:
    crop = np.roll(draw_cell(96, nucleus=18, cell=30), 30, axis=1)
    stock = stock_of([("M1", crop), ("M1", draw_cell())])
    assert (stock.count, stock.left_out) == (1, 1)


def test_cutting_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    crop = np.clip(draw_cell() + rng.normal(0, 12, (96, 96, 3)), 0, 255).astype(np.uint8)
    assert np.array_equal(cut_out(crop).mask, cut_out(crop).mask)


def test_most_real_cells_are_cut_out_whole(heme_data: Path) -> None:
    """Blood smears nearly always; crowded marrow at least half of the time."""
    with (heme_data / "crops" / "crops-manifest.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["role"] == "fold0" and r["code"] != "U1"]
    wanted = {r["file"]: r["source"] for r in rows[::23]}
    clean: dict[str, list[bool]] = {"matek": [], "pbc": []}
    for shard in sorted((heme_data / "crops").glob("crops-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.name in wanted else None
                if data:
                    cut = cut_out(decode_photo(data.read()))
                    clean[wanted[member.name]].append(cut.clean)
    assert np.mean(clean["pbc"]) > 0.85
    assert np.mean(clean["matek"]) > 0.45


def find(x: float, y: float, kind: str = "cell") -> DetectedCell:
    return DetectedCell(x, y, 10.0, 0.9, kind)


def test_pairs_are_one_to_one_and_nearest_first() -> None:
    places = [(0.0, 0.0), (10.0, 0.0)]
    assert pairs(places, [find(6.0, 0.0), find(1.0, 0.0)], 8.0) == {0: 1, 1: 0}
    assert len(pairs(places, [find(5.0, 0.0)], 8.0)) == 1
    assert pairs(places, [], 8.0) == {}


def test_scores_of_a_perfect_a_blind_and_a_double_sighted_detector() -> None:
    made = field(7, smudges=60.0, thick=0.2)
    all_cells = [c for c in made.cells if c.kind in (CELL, LARGE)]
    finds = [find(c.x_px + 1, c.y_px) for c in all_cells]
    perfect = score(made, finds)
    assert (perfect.missed, perfect.false) == (0, 0)
    assert perfect.recall == perfect.precision == perfect.touching_recall == 1.0
    assert max(perfect.away_um) == pytest.approx(0.5)
    assert score(made, []).recall == 0.0
    inner = [c for c in made.nucleated() if 30 < c.x_px < 450 and 30 < c.y_px < 330]
    apart = next(c for c in inner if not c.touching)
    twice = score(made, [*finds, find(apart.x_px + 2, apart.y_px)])
    assert twice.false == 1
    total = perfect + twice
    assert total.hit == 2 * perfect.hit
    smudges = [c for c in made.cells if c.kind == "smudge"]
    on_smudges = score(made, [*finds, *(find(c.x_px, c.y_px) for c in smudges)])
    assert on_smudges.false == 0
    assert score(made, [find(c.x_px, c.y_px, "platelet-clump") for c in all_cells]).hit == 0
