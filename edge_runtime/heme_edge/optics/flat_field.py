"""Where the light of a camera falls off: the empty background, place by place.

All is done on the values a camera gives. A lamp's fall-off is a factor, and stays one when the
camera raises the light to a power (its gamma), so that a factor also takes it away.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.optics.profile import GRID, MOST_GAIN, Gains

Levels = NDArray[np.float64]

BLOCK_PX = 8
"""A frame is shrunk by area to so many px in each block of the grid, which averages noise."""
BACKGROUND_PERCENTILE = 80.0
"""Within a block, and over frames: a fifth of empty background is enough."""
DEGREE, COLOUR_TERMS = 4, 6
"""Degree of the surface; how many of its first terms (degree 2) a channel has of its own."""
STIFFNESS = 2.0
"""Held against each term of degree 3 and 4: where few blocks show background they would bend the
surface to what lies between. Chosen on composed fields under six kinds of light."""
ROUNDS = 12
DARKER, BRIGHTER = 0.02, 0.05
"""Blocks whose log level is further below or above the surface are cells, or dirt and light."""
DUST = 0.06
"""A block of a blank frame that differs by this share from its neighbours shows dust."""
LEAST_BLOCKS = 40
LEAST_LEVEL = 4.0
FULL_PERCENTILE = 98.0
"""Where the light counts as full: gains are 1 there."""


def levels_of_blocks(image: Image) -> Levels:
    """The background's level in each block of one frame, ``[24, 32, 3]``, 0..255.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
    """
    return _percentile_of_blocks(image, BACKGROUND_PERCENTILE)


def _percentile_of_blocks(image: Image, percentile: float) -> Levels:
    rows, columns = GRID
    size = columns * BLOCK_PX, rows * BLOCK_PX
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    blocks = small.reshape(rows, BLOCK_PX, columns, BLOCK_PX, 3).transpose(0, 2, 1, 3, 4)
    flat = blocks.reshape(rows, columns, BLOCK_PX * BLOCK_PX, 3)
    return np.asarray(np.percentile(flat, percentile, axis=2), np.float64)


def gains_from_blanks(images: Sequence[Image], seen: NDArray[np.bool_]) -> Gains:
    """Gains from frames that show no cell.

    Args:
        images: RGB uint8, all of one shape.
        seen: ``[24, 32]``, blocks that show the slide.
    """
    levels = np.median([_percentile_of_blocks(image, 50.0) for image in images], axis=0)
    around = np.asarray(cv2.medianBlur(levels.astype(np.float32), 3), np.float64)
    dust = np.abs(levels - around) > DUST * around
    return _gains(np.where(dust, around, levels), seen)


def gains_from_fields(images: Sequence[Image], seen: NDArray[np.bool_]) -> Gains | None:
    """Gains from frames with cells: a smooth surface through the background between them.

    The surface is a polynomial of degree 4 and a radial term of degree 6 in the logarithm of the
    level, fitted (ridge on degrees 3 and 4) again and again without the blocks that lie below it,
    which hold no background. How the channels differ is smoother: degree 2.

    Args:
        images: RGB uint8, all of one shape; more of them, of different places, see more background.
        seen: ``[24, 32]``, blocks that show the slide.

    Returns:
        ``[24, 32, 3]``; None where there is too little background to tell.
    """
    levels = np.percentile([levels_of_blocks(i) for i in images], BACKGROUND_PERCENTILE, axis=0)
    logs = np.log(np.maximum(levels, LEAST_LEVEL))
    terms = _terms()
    kept = _background_blocks(logs[..., 1], terms, seen)
    if np.count_nonzero(kept) < LEAST_BLOCKS:
        return None
    shape = logs.mean(axis=2)
    colours = [_surface(logs[..., c] - shape, terms[..., :COLOUR_TERMS], kept) for c in range(3)]
    surface = _surface(shape, terms, kept)[..., None] + np.stack(colours, axis=2)
    return _gains(np.exp(surface), seen)


def _terms() -> Levels:
    """Monomials of the places of the blocks, by degree, and r^6: ``[24, 32, 16]``."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID), indexing="ij")
    return np.stack([*(x**i * y**j for i, j in _powers()), (x * x + y * y) ** 3], axis=2)


def _powers() -> list[tuple[int, int]]:
    return [(i, degree - i) for degree in range(DEGREE + 1) for i in range(degree + 1)]


def _surface(logs: Levels, terms: Levels, kept: NDArray[np.bool_]) -> Levels:
    held = [STIFFNESS**0.5 * (i + j > 2) for i, j in _powers()] + [0.0]
    count = terms.shape[2]
    fitted = np.vstack([terms[kept], np.diag(held[:count])])
    wanted = np.concatenate([logs[kept], np.zeros(count)])
    return np.asarray(terms @ np.linalg.lstsq(fitted, wanted, rcond=None)[0])


def _background_blocks(logs: Levels, terms: Levels, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Blocks that hold background; the tolerance below the surface narrows from round to round."""
    kept = seen.copy()
    for below in np.geomspace(0.3, DARKER, ROUNDS):
        if np.count_nonzero(kept) < LEAST_BLOCKS:
            break
        away = logs - _surface(logs, terms, kept)
        kept = seen & (away > -below) & (away < max(BRIGHTER, below))
    return kept


def _gains(levels: Levels, seen: NDArray[np.bool_]) -> Gains:
    full = np.percentile(levels[seen], FULL_PERCENTILE, axis=0)
    gains = full / np.maximum(levels, full / MOST_GAIN)
    return np.asarray(np.clip(gains, 1 / MOST_GAIN, MOST_GAIN), np.float32)
