"""Where a smear is no even layer: holes where fat was, and heaps too thick to read."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.sim.ground import Window
from heme_edge.sim.palette import Field

HOLE_UM = (12.0, 45.0)
"""Radius of a fat hole."""
HEAP_UM = 24.0
"""About the size of the patches that are too thick."""
LAYERS = (2, 5)
"""So many copies of the field, the last not included, lie upon it there."""


def fat_hole(
    canvas: Field,
    at_um: NDArray[np.float64],
    radius_um: float,
    um_per_px: float,
    rng: np.random.Generator,
) -> None:
    """Empties an oval of a field in place; its rim is faintly dark.

    Args:
        canvas: light that comes through, ``[H, W, 3]``.
        at_um: middle (x, y) of the hole.
        radius_um: its longer half.
        um_per_px: scale.
        rng: turns and flattens it.
    """
    x, y = at_um / um_per_px
    window = _window(canvas.shape, x, y, int(radius_um * 1.3 / um_per_px))
    rows, columns = np.mgrid[window]
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
    u = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    v = ((rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)) / flat
    away = np.hypot(u, v) * um_per_px - radius_um * 0.95
    inside = np.clip(0.5 - away / 1.5, 0, 1)[..., None].astype(np.float32)
    rim = (0.12 * np.exp(-((away / 1.2) ** 2)))[..., None].astype(np.float32)
    part = canvas[window]
    part += inside * (1 - part)
    part *= 1 - rim


def thicken(
    canvas: Field, share: float, um_per_px: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Lays a field over itself in place, several times, where it shall be too thick.

    Args:
        canvas: light that comes through, ``[H, W, 3]``.
        share: of the field that becomes too thick, 0..1.
        um_per_px: scale.
        rng: draws where.

    Returns:
        where it is too thick, ``[H, W]``.
    """
    shape = canvas.shape[:2]
    if share <= 0:
        return np.zeros(shape, np.bool_)
    coarse = tuple(max(4, round(side * um_per_px / HEAP_UM * 2)) for side in shape)
    hills = cv2.GaussianBlur(rng.standard_normal(coarse, dtype=np.float32), (0, 0), 2.0)
    plane = cv2.resize(hills, shape[::-1], interpolation=cv2.INTER_CUBIC)
    level = np.quantile(plane, 1 - min(share, 0.95))
    spread = float(plane.std()) or 1.0
    amount = np.clip((plane - level) / (0.25 * spread) + 0.5, 0, 1)[..., None]
    layers = canvas.copy()
    for _ in range(int(rng.integers(*LAYERS))):
        shift = rng.integers(20, 200, 2)
        flips = rng.choice([-1, 1], 2)
        layers *= np.roll(canvas[:: flips[0], :: flips[1]], shift, (0, 1))
    blurred = cv2.GaussianBlur(layers, (0, 0), rng.uniform(0.3, 1.2) / um_per_px)
    canvas += amount.astype(np.float32) * (blurred - canvas)
    return np.asarray(amount[..., 0] > 0.5, np.bool_)


def _window(shape: tuple[int, ...], x: float, y: float, reach: int) -> Window:
    return (
        slice(max(0, int(y) - reach), min(shape[0], int(y) + reach + 1)),
        slice(max(0, int(x) - reach), min(shape[1], int(x) + reach + 1)),
    )
