"""The part of a picture that shows the slide.

A phone or camera at an eyepiece sees a bright disc with a black surround; an ordinary camera
port fills the whole rectangle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.working_scale import shrunk

Mask = NDArray[np.bool_]

LOOK_PX = 208
"""The mask is found on a picture whose longer side is at most this many px."""
DARK_SHARE = 0.3
"""A pixel is surround when its brightest channel is below this share of the bright level."""
LEAST_BRIGHT = 12
"""Below this bright level (of 255) the frame is black and shows no round field."""
CORNERS = 40
"""A corner is a square whose side is so small a part of the shorter side."""
FILLED = 0.97
"""A field that covers more than this share of the picture is the whole picture."""


def field_of_view(image: Image) -> Mask:
    """Where the picture shows the slide and not the black surround of an eyepiece.

    Args:
        image: RGB uint8 ``[H, W, 3]``.

    Returns:
        bool ``[H, W]``; all True for an ordinary rectangular field and for a black frame.
    """
    height, width = image.shape[:2]
    if _bright_corners(image):
        return np.ones((height, width), np.bool_)
    small = _bright(_looked_at(image))
    hull = _lit_hull(small)
    if hull is None:
        return np.ones((height, width), np.bool_)
    return cv2.resize(hull, (width, height), interpolation=cv2.INTER_LINEAR) > 127


def _step(image: Image) -> int:
    return max(1, int(max(image.shape[:2])) // (2 * LOOK_PX))


def _looked_at(image: Image) -> Image:
    step = _step(image)
    return shrunk(np.ascontiguousarray(image[::step, ::step]), LOOK_PX)


def _bright_corners(image: Image) -> bool:
    """Whether three corners are so bright that they are lit at any level, at a tenth of the work.

    Where the mean of one channel is bright a pixel is.
    """
    side, step = max(1, min(image.shape[:2]) // CORNERS), _step(image)
    corners = (
        image[rows, columns]
        for rows in (slice(0, side, step), slice(-side, None, step))
        for columns in (slice(0, side, step), slice(-side, None, step))
    )
    return sum(max(cv2.mean(c.copy())[:3]) > DARK_SHARE * 255 for c in corners) >= 3


def _bright(image: Image) -> Image:
    """The brightest channel: nuclei stay bright in blue, the surround is dark in all."""
    red, green, blue = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _lit_hull(bright: Image) -> Image | None:
    """Convex hull (0 or 255) of the lit part, or None where the field is the rectangle."""
    level = float(np.percentile(bright[::2, ::2], 90))
    if level < LEAST_BRIGHT:
        return None
    lit = (bright > DARK_SHARE * level).astype(np.uint8)
    if not _dark_corners(lit):
        return None
    contours, _ = cv2.findContours(lit, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    hull = np.zeros_like(lit)
    cv2.fillConvexPoly(hull, cv2.convexHull(max(contours, key=cv2.contourArea)), 255)
    return None if np.mean(hull > 0) > FILLED else hull


def _dark_corners(lit: Image) -> bool:
    """Whether two corners or more are dark; one may be a cell or a pointer."""
    side = max(1, min(lit.shape) // CORNERS)
    corners = (lit[:side, :side], lit[:side, -side:], lit[-side:, :side], lit[-side:, -side:])
    return sum(not corner.any() for corner in corners) >= 2
