"""Green optical density of a field, whatever the lamp, its evenness and the white balance.

Haemoglobin, eosin and nuclear stain all absorb green, so green density shows every cell on the
glass (Beer-Lambert: -log10 of light over the light of the empty background nearby).
"""

from __future__ import annotations

import cv2
import numpy as np

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import Mask
from heme_edge.detect.stain import Plane

BLOCK_PX = 96
"""The background is taken block by block, two to four red cells wide at the working scale."""
BACKGROUND_PERCENTILE = 90.0
LEAST_PIXELS = 200
"""A block with fewer pixels in the field of view has no say."""
SMOOTH_PX = 0.8
DARKEST = 4.0


def green_density(image: Image, field: Mask) -> Plane:
    """Density of every pixel above the background around it, ``[H, W]``; 0 outside the field.

    Args:
        image: RGB uint8 ``[H, W, 3]`` at the working scale.
        field: the field of view.
    """
    green = image[..., 1].astype(np.float32)
    ratio = np.maximum(green, DARKEST) / _background(green, field)
    density = cv2.GaussianBlur(-np.log10(ratio), (0, 0), SMOOTH_PX)
    density[~field] = 0.0
    return np.asarray(density, np.float32)


def _background(green: Plane, field: Mask) -> Plane:
    """Light of the empty glass: the brightest of neighbouring blocks, interpolated."""
    height, width = green.shape
    rows, columns = (max(1, round(side / BLOCK_PX)) for side in (height, width))
    level = np.zeros((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            block = np.s_[
                row * height // rows : (row + 1) * height // rows,
                column * width // columns : (column + 1) * width // columns,
            ]
            level[row, column] = _bright(green[block][field[block]])
    blank = level == 0
    level[blank] = np.median(level[~blank]) if not blank.all() else 255.0
    level = np.asarray(cv2.blur(cv2.dilate(level, np.ones((3, 3), np.uint8)), (3, 3)), np.float32)
    whole = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.maximum(whole, 2 * DARKEST), np.float32)


def _bright(pixels: Plane) -> float:
    """Level of the bright pixels of a block; 0 where too few are in the field."""
    if pixels.size < LEAST_PIXELS:
        return 0.0
    return float(np.percentile(pixels, BACKGROUND_PERCENTILE))


def steepness(density: Plane) -> Plane:
    """Change of density per px, ``[H, W]``."""
    across, down = (cv2.Sobel(density, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)
