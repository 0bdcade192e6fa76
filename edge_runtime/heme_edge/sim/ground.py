"""What lies between the nucleated cells: red cells, drawn or from real fields."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.detect.stain import background
from heme_edge.sim.cells import draw_red_cell
from heme_edge.sim.palette import Field
from heme_edge.sim.shapes import NoiseBank

VARIANTS = 24
RED_PER_MM2 = (500.0, 13000.0)
STACKED = (0.0, 0.8)
"""Share of the red cells that lie on the one before."""
STACK_STEP_UM = (1.8, 5.5)
CRENATED = 0.15
"""Chance of a field whose red cells are crenated."""
SPIKES = (8, 14)


@dataclass(frozen=True)
class Ground:
    """A real field without nucleated cells.

    Attributes:
        share: light that comes through, uint8 ``[H, W, 3]``, 255 = that of the empty slide.
        um_per_px: its scale.
    """

    share: Image
    um_per_px: float


def ground_of(image: Image, um_per_px: float) -> Ground:
    """A ground of a picture: its colours relative to its own empty slide."""
    white = background(image, field_of_view(image))
    return Ground(np.clip(np.rint(image * (255.0 / white)), 0, 255).astype(np.uint8), um_per_px)


def lay_ground(
    ground: Ground | None, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator
) -> Field:
    """The light that comes through a field before any nucleated cell, float32 ``[H, W, 3]``.

    Args:
        ground: a real one, mirrored until it fills the field; None draws one.
        shape: height and width in px.
        um_per_px: scale of the field.
        rng: draws the rest.
    """
    if ground is None:
        return _drawn(shape, um_per_px, rng)
    scale = ground.um_per_px / um_per_px
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile = cv2.resize(ground.share, None, fx=scale, fy=scale, interpolation=how)
    tile = np.rot90(tile, int(rng.integers(4)))
    y, x = (int(rng.integers(side)) for side in tile.shape[:2])
    extra = ((0, shape[0] + y), (0, shape[1] + x), (0, 0))
    filled = np.pad(tile, extra, mode="symmetric")[y : y + shape[0], x : x + shape[1]]
    return filled.astype(np.float32) / np.float32(255)


def _drawn(shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> Field:
    bank = NoiseBank(rng, um_per_px)
    patches = [draw_red_cell(rng, bank, um_per_px).share for _ in range(VARIANTS)]
    if rng.random() < CRENATED:
        patches = [_crenated(p, rng) for p in patches]
    canvas = np.ones((*shape, 3), np.float32)
    mm2 = shape[0] * shape[1] * um_per_px**2 / 1e6
    stacked = rng.uniform(*STACKED)
    spot = np.zeros(2)
    for _ in range(round(rng.uniform(*RED_PER_MM2) * mm2)):
        if rng.random() < stacked:
            turn, step = rng.normal(0.7, 0.5), rng.uniform(*STACK_STEP_UM) / um_per_px
            spot = spot + step * np.array([np.cos(turn), np.sin(turn)])
        else:
            spot = rng.uniform(0, 1, 2) * shape[::-1]
        patch = patches[int(rng.integers(VARIANTS))]
        multiply(canvas, np.ascontiguousarray(np.rot90(patch, int(rng.integers(4)))), spot)
    return canvas


def _crenated(share: Field, rng: np.random.Generator) -> Field:
    """The same red cell with a spiky outline."""
    side = share.shape[0]
    rows, columns = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    spikes = 1 + 0.10 * np.cos(int(rng.integers(*SPIKES)) * np.arctan2(rows, columns))
    middle = np.float32((side - 1) / 2)
    map_x = (columns * spikes + middle).astype(np.float32)
    map_y = (rows * spikes + middle).astype(np.float32)
    bent = cv2.remap(share, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(bent, np.float32)


def multiply(canvas: Field, share: Field, spot: NDArray[np.float64]) -> None:
    """Multiplies a patch into the canvas in place, its middle at ``spot`` (x, y) px."""
    window = cut_window(canvas.shape, share.shape, spot)
    if window is not None:
        canvas[window[0]] *= share[window[1]]


Window = tuple[slice, slice]


def cut_window(
    canvas: tuple[int, ...],
    patch: tuple[int, ...],
    spot: NDArray[np.float64],
) -> tuple[Window, Window] | None:
    """The parts of canvas and patch that cover each other; None where nothing does."""
    left, top = (round(float(s) - (n - 1) / 2) for s, n in zip(spot, patch[1::-1], strict=True))
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(canvas[1], left + patch[1]), min(canvas[0], top + patch[0])
    if x0 >= x1 or y0 >= y1:
        return None
    return (
        (slice(y0, y1), slice(x0, x1)),
        (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)),
    )
