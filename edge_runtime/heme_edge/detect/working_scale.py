"""The scale at which fields are searched and judged, whatever the camera's."""

from __future__ import annotations

import cv2
import numpy as np

from heme_edge.crops import Image

WORKING_UM_PER_PX = 0.5
LINEAR_FROM = 0.75
"""A linear step may shrink a field to this share of its side: more would alias."""
LEAST_SIDE_PX = 8
"""A field smaller than this at the working scale holds no cell."""


def at_working_scale(image: Image, um_per_px: float) -> Image:
    """The field at ``WORKING_UM_PER_PX``.

    It is halved by area as often as it can be; the rest is by area too, or linear where little
    is left: a fifth of the time of one step by area.
    """
    scale = um_per_px / WORKING_UM_PER_PX
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    small = image
    while small.shape[1] >= 2 * size[0] and small.shape[0] >= 2 * size[1]:
        half = small.shape[1] // 2, small.shape[0] // 2
        small = np.asarray(cv2.resize(small, half, interpolation=cv2.INTER_AREA), np.uint8)
    area = size[0] < LINEAR_FROM * small.shape[1]
    how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, size, interpolation=how), np.uint8)


def shrunk(image: Image, longest_px: int) -> Image:
    """A picture by area to at most so many px of its longer side; never enlarged.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        longest_px: of the longer side.
    """
    height, width = image.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
