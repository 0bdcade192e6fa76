"""Planes to draw a cell on: a grid in µm, smooth noise, discs along a curve, granules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heme_edge.sim.palette import Field

BANK_PX = 512
Disc = tuple[float, float, float]
"""x, y and radius in µm."""


@dataclass(frozen=True)
class Grid:
    """A square drawing plane whose middle pixel is the cell's centre.

    Attributes:
        x, y: position of each pixel in µm from the centre, ``[n, n]``.
        um_per_px: scale.
    """

    x: Field
    y: Field
    um_per_px: float

    @property
    def side(self) -> int:
        """Side in px; odd."""
        return int(self.x.shape[0])

    @property
    def middle(self) -> int:
        """Index of the middle pixel."""
        return self.side // 2


def make_grid(reach_um: float, um_per_px: float) -> Grid:
    """A grid that reaches ``reach_um`` from its centre to each side."""
    half = int(np.ceil(reach_um / um_per_px))
    line = np.arange(-half, half + 1, dtype=np.float32) * np.float32(um_per_px)
    x, y = np.meshgrid(line, line)
    return Grid(x, y, um_per_px)


def blur(field: Field, sigma_um: float, um_per_px: float) -> Field:
    """Gaussian blur with sigma in µm."""
    import cv2

    sigma = sigma_um / um_per_px
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


class NoiseBank:
    """Smooth noise of given grain, made once and cut anew for each use.

    Args:
        rng: makes the noise.
        um_per_px: scale of the planes it is cut for.
    """

    def __init__(self, rng: np.random.Generator, um_per_px: float) -> None:
        self._white = rng.standard_normal((BANK_PX, BANK_PX), dtype=np.float32)
        self._um_per_px = um_per_px
        self._by_grain: dict[float, Field] = {}

    def cut(self, rng: np.random.Generator, side: int, grain_um: float) -> Field:
        """A ``[side, side]`` plane of mean 0 and deviation 1 whose grain is ``grain_um`` wide."""
        noise = self._by_grain.get(grain_um)
        if noise is None:
            noise = blur(self._white, grain_um / 2, self._um_per_px)
            noise = ((noise - noise.mean()) / noise.std()).astype(np.float32)
            self._by_grain[grain_um] = noise
        x, y = rng.integers(0, BANK_PX - side, 2)
        return noise[y : y + side, x : x + side]


def wavy_distance(grid: Grid, radius_um: float, wobble: float, rng: np.random.Generator) -> Field:
    """Distance to a nearly round outline, µm, negative inside.

    Args:
        grid: where to draw.
        radius_um: mean radius.
        wobble: unevenness as a share of the radius (0 = a circle).
        rng: draws the outline.
    """
    angle = np.arctan2(grid.y, grid.x)
    radius = np.full_like(angle, radius_um)
    for order in (2, 3, 4, 5):
        height = wobble * radius_um * rng.normal() / (order - 0.6)
        radius += np.float32(height) * np.cos(order * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray(np.hypot(grid.x, grid.y) - radius, np.float32)


def discs_distance(x: Field, y: Field, discs: Sequence[Disc]) -> Field:
    """Distance to the union of discs, µm, negative inside."""
    distance = np.full_like(x, np.inf)
    for disc_x, disc_y, radius in discs:
        away = np.hypot(x - np.float32(disc_x), y - np.float32(disc_y)) - np.float32(radius)
        np.minimum(distance, away, out=distance)
    return distance


def cover(distance: Field, soft_um: float) -> Field:
    """Share of each pixel that is inside: 1 to 0 over ``soft_um`` around distance 0."""
    return np.asarray(np.clip(0.5 - distance / np.float32(soft_um), 0, 1), np.float32)


def granules(grid: Grid, per_um2: float, size_um: float, rng: np.random.Generator) -> Field:
    """Round granules of about ``size_um`` scattered over the whole plane, 0..1."""
    count = rng.poisson(per_um2 * (grid.side * grid.um_per_px) ** 2)
    plane = np.zeros((grid.side, grid.side), np.float32)
    if not count:
        return plane
    rows, columns = rng.integers(0, grid.side, (2, count))
    np.add.at(plane, (rows, columns), rng.uniform(0.5, 1.0, count).astype(np.float32))
    sigma_um = size_um / 2.4
    peak = grid.um_per_px**2 / (2 * np.pi * sigma_um**2)
    spots = blur(plane, sigma_um, grid.um_per_px) / np.float32(peak)
    return np.asarray(np.minimum(spots, 1.0), np.float32)
