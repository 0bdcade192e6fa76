"""The level of the stain index that bounds the nuclei of one field.

Between the level of red cells and that of nuclei only the steep edges of nuclei have pixels, be
the nuclei one in the field or most of it. So the mean steepness of the pixels of each level, and
not their number, tells where to cut.
"""

from __future__ import annotations

import cv2
import numpy as np

from heme_edge.detect.field_of_view import Mask
from heme_edge.detect.stain import Plane, Stain

FLOOR = 0.17
"""No nucleus is paler than this index above the background."""
STEP = 0.05
LEVELS = 44
"""Levels of the index that are compared: ``LEVELS`` of width ``STEP``."""
AROUND = (1, 2, 1)
"""Weights with which the levels around one are taken together."""
LEAST_PIXELS = 12
"""A level with fewer pixels has no say."""
SHARE_OF_STEEPEST = 0.4
"""Where to cut: the lowest level that is this steep, as a share of the steepest."""
ABOVE_RED_CELLS = 1.6
"""Where to cut at least, as a multiple of the level of the darker red cells."""
RED_CELLS_BELOW = 0.6
"""No red cell, however purple, reaches this index."""
RED_CELLS_SHARE = 0.03
"""With fewer red-cell pixels than this share of the field, they have no say."""


def nuclear_level(stain: Stain, field: Mask) -> float:
    """Index above which a pixel belongs to a nucleus.

    Args:
        stain: densities at the working scale.
        field: the pixels to look at.
    """
    steep = _steep_level(stain.nuclear, field)
    return max(FLOOR, steep, ABOVE_RED_CELLS * red_cell_level(stain, field))


def red_cell_level(stain: Stain, field: Mask) -> float:
    """Index of the darker red cells (their upper quartile); 0 where there are hardly any."""
    levels = stain.nuclear[stain.red_cell & field & (stain.nuclear < RED_CELLS_BELOW)]
    if levels.size < RED_CELLS_SHARE * np.count_nonzero(field):
        return 0.0
    return float(np.percentile(levels, 75))


def _steep_level(index: Plane, field: Mask) -> float:
    """Lowest level nearly as steep as the steepest; 0 where no level reaches the floor."""
    steep = cv2.magnitude(cv2.Sobel(index, cv2.CV_32F, 1, 0), cv2.Sobel(index, cv2.CV_32F, 0, 1))
    high = field & (index > FLOOR)
    level = np.minimum((index[high] / STEP).astype(np.intp), LEVELS - 1)
    count = np.convolve(np.bincount(level, minlength=LEVELS), AROUND, mode="same")
    total = np.bincount(level, weights=steep[high], minlength=LEVELS)
    mean = np.convolve(total, AROUND, mode="same") / np.maximum(count, 1)
    mean[count < LEAST_PIXELS] = 0.0
    first = np.argmax(mean >= SHARE_OF_STEEPEST * mean.max())
    return float(first + 0.5) * STEP if mean.any() else 0.0
