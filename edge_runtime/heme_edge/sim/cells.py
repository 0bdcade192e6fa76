"""Drawing one cell: nucleus, cytoplasm, granules, red cells and platelets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heme_edge.sim import palette
from heme_edge.sim.nuclei import SHAPES
from heme_edge.sim.palette import Field, transmission
from heme_edge.sim.recipes import RECIPES, STAGES, Range, Recipe
from heme_edge.sim.shapes import (
    Grid,
    NoiseBank,
    blur,
    cover,
    discs_distance,
    granules,
    make_grid,
    wavy_distance,
)

Rng = np.random.Generator
MARGIN_UM = 1.2
LENS_UM = 0.12
"""Blur of the lens, sigma in µm: a 40x/0.65 objective resolves about 0.4 µm."""


@dataclass(frozen=True)
class Patch:
    """A drawn cell.

    Attributes:
        share: light that comes through, ``[n, n, 3]`` in 0..1; n is odd and the middle pixel is
            the centre of the cell.
        radius_um: radius of a circle as large as the whole cell.
    """

    share: Field
    radius_um: float


def draw_cell(code: str, rng: Rng, bank: NoiseBank, um_per_px: float) -> Patch:
    """One nucleated cell.

    Args:
        code: a key of ``RECIPES`` or ``STAGES``.
        rng: draws size, shape and colour.
        bank: noise at the same scale.
        um_per_px: scale of the drawing.

    Raises:
        KeyError: no such recipe.
    """
    if code in STAGES:
        code = str(rng.choice(STAGES[code]))
    recipe = RECIPES[code]
    radius = _pick(recipe.diameter_um, rng) / 2
    grid = make_grid(radius * 1.12 + MARGIN_UM, um_per_px)
    edge = wavy_distance(grid, radius, recipe.wobble, rng)
    inside = cover(edge, 0.35)
    nucleus, middle = _nucleus(grid, recipe, radius, rng, bank)
    nucleus *= cover(edge + 0.25, 0.35)
    density = _cytoplasm(grid, recipe, edge, middle, rng, bank)
    density *= (inside * (1 - nucleus))[..., None]
    amount = nucleus * _chromatin(grid, recipe, middle, rng, bank)
    density += amount[..., None] * palette.CHROMATIN
    _add_granules(density, grid, recipe, inside, nucleus, rng)
    density *= np.float32(rng.normal(1.0, 0.05)) * _tint(rng)
    area_um2 = float(inside.sum()) * um_per_px**2
    return Patch(transmission(blur(density, LENS_UM, um_per_px)), float(np.sqrt(area_um2 / np.pi)))


def _pick(span: Range, rng: Rng) -> float:
    return float(rng.uniform(*span))


def _tint(rng: Rng) -> Field:
    return rng.normal(1.0, 0.025, 3).astype(np.float32)


def _nucleus(
    grid: Grid, recipe: Recipe, radius: float, rng: Rng, bank: NoiseBank
) -> tuple[Field, tuple[float, float]]:
    """Cover of the nucleus ``[n, n]``, and its middle in µm."""
    share = _pick(recipe.share, rng)
    discs = SHAPES[recipe.nucleus](radius, share, rng)
    turn, side = rng.uniform(0, 2 * np.pi, 2)
    away = _pick(recipe.eccentric, rng) * max(0.0, radius * (1 - np.sqrt(share)) - 0.3)
    middle = float(away * np.cos(side)), float(away * np.sin(side))
    x, y = grid.x - np.float32(middle[0]), grid.y - np.float32(middle[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    ragged = np.float32(0.16)
    x += ragged * bank.cut(rng, grid.side, 2.0)
    y += ragged * bank.cut(rng, grid.side, 2.0)
    distance = discs_distance(x * cos + y * sin, y * cos - x * sin, discs)
    return cover(blur(distance, 0.22, grid.um_per_px), 0.35), middle


def _chromatin(
    grid: Grid, recipe: Recipe, middle: tuple[float, float], rng: Rng, bank: NoiseBank
) -> Field:
    """Units of chromatin at each place, as if the nucleus filled the plane."""
    coarse = np.tanh(1.3 * bank.cut(rng, grid.side, recipe.clump_um))
    fine = bank.cut(rng, grid.side, 0.4)
    amount = 1 + recipe.clump * (0.8 * coarse + 0.45 * fine)
    for _ in range(recipe.nucleoli):
        x, y = rng.normal(0, 1.9, 2) + middle
        pale = cover(np.hypot(grid.x - x, grid.y - y) - rng.uniform(0.6, 1.1), 0.7)
        amount = amount * (1 - 0.26 * pale)
    return np.asarray(amount * _pick(recipe.chromatin, rng), np.float32)


def _cytoplasm(
    grid: Grid, recipe: Recipe, edge: Field, middle: tuple[float, float], rng: Rng, bank: NoiseBank
) -> Field:
    """Densities of the cytoplasm ``[n, n, 3]``, as if it filled the plane."""
    uneven = 1 + 0.10 * bank.cut(rng, grid.side, 1.2) + 0.10 * bank.cut(rng, grid.side, 0.4)
    if recipe.rim:
        uneven = uneven + recipe.rim * np.exp(-((edge / 0.9) ** 2))
    if recipe.hof:
        uneven = uneven * (1 - recipe.hof * _hof(grid, middle))
    if recipe.vacuoles:
        uneven = uneven * (1 - 0.8 * granules(grid, recipe.vacuoles, 1.0, rng))
    vector = recipe.cytoplasm * np.float32(_pick(recipe.amount, rng))
    if recipe.second is not None:
        vector = vector + recipe.second * np.float32(_pick(recipe.second_amount, rng))
    return np.asarray(uneven[..., None] * vector, np.float32)


def _hof(grid: Grid, middle: tuple[float, float]) -> Field:
    """The pale Golgi zone: on the cell's other side from the nucleus, next to it."""
    away = float(np.hypot(*middle)) or 1.0
    x, y = -2.4 * middle[0] / away, -2.4 * middle[1] / away
    near = ((grid.x - np.float32(x)) ** 2 + (grid.y - np.float32(y)) ** 2) / np.float32(2 * 1.7**2)
    return np.exp(-near).astype(np.float32)


def _add_granules(
    density: Field, grid: Grid, recipe: Recipe, inside: Field, nucleus: Field, rng: Rng
) -> None:
    for kind in recipe.granules:
        where = inside * (1 - nucleus * np.float32(1 - kind.on_nucleus))
        spots = granules(grid, kind.per_um2, kind.size_um, rng)
        density += (where * spots * np.float32(kind.amount))[..., None] * kind.stain


def draw_red_cell(rng: Rng, bank: NoiseBank, um_per_px: float) -> Patch:
    """A red cell: 7.5 µm disc, paler in its middle third."""
    radius = rng.normal(7.5, 0.4) / 2
    grid = make_grid(radius * 1.15 + MARGIN_UM, um_per_px)
    edge = wavy_distance(grid, radius, 0.035, rng)
    depth = np.clip(-edge / np.float32(radius), 0, 1)
    pallor = np.float32(rng.uniform(0.25, 0.95))
    profile = (
        1 - pallor * np.exp(-(((1 - depth) / 0.42) ** 2)) + 0.15 * np.exp(-((edge + 0.5) ** 2))
    )
    uneven = 1 + 0.04 * bank.cut(rng, grid.side, 1.2)
    amount = cover(edge, 0.5) * profile * uneven * np.float32(rng.uniform(0.8, 1.15))
    density = np.asarray(amount[..., None] * palette.HAEMOGLOBIN * _tint(rng), np.float32)
    return Patch(transmission(blur(density, LENS_UM, um_per_px)), float(radius))


def draw_platelet(rng: Rng, bank: NoiseBank, um_per_px: float) -> Patch:
    """A platelet: 2-4 µm, a few larger, lilac with a granular purple middle."""
    radius = rng.uniform(1.0, 2.0) if rng.random() < 0.9 else rng.uniform(2.0, 2.8)
    grid = make_grid(radius * 1.4 + MARGIN_UM, um_per_px)
    edge = wavy_distance(grid, radius, 0.10, rng)
    body = cover(edge, 0.5)
    core = cover(edge + np.float32(radius * 0.45), 0.9)
    spots = granules(grid, 2.0, 0.5, rng)
    density = body[..., None] * (palette.MONOCYTE_GREY * np.float32(0.55))
    density += (core * (0.35 + 0.65 * spots) * np.float32(0.75))[..., None] * palette.CHROMATIN
    return Patch(transmission(blur(density, LENS_UM, um_per_px)), float(radius))
