"""The round field of view of a camera at an eyepiece, as a circle."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import LOOK_PX, Mask, field_of_view
from heme_edge.detect.working_scale import shrunk
from heme_edge.optics.profile import GRID, RoundField

LEAST_POINTS = 24
MOST_MISS = 0.03
"""How far the outline may lie from the circle, as a share of its radius."""


def round_field_of(images: Sequence[Image]) -> RoundField | None:
    """The circle that most of the pictures show; None where the slide fills the frame.

    Args:
        images: RGB uint8, all of one shape.
    """
    fields = [field_of_view(shrunk(image, LOOK_PX)) for image in images]
    mask = np.median(fields, axis=0) > 0.5
    return None if mask.all() else _circle(mask)


def _circle(mask: Mask) -> RoundField | None:
    """The least-squares circle through the outline (Kåsa 1976), without the frame's border."""
    height, width = mask.shape
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    x, y = max(outlines, key=cv2.contourArea)[:, 0].T.astype(np.float64)
    inner = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    x, y = x[inner], y[inner]
    if len(x) < LEAST_POINTS:
        return None
    terms = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1)
    (cx, cy, rest), *_ = np.linalg.lstsq(terms, x * x + y * y, rcond=None)
    radius = float(np.sqrt(max(rest + cx * cx + cy * cy, 0.0)))
    miss = float(np.sqrt(np.mean((np.hypot(x - cx, y - cy) - radius) ** 2)))
    fits = miss < MOST_MISS * radius and 0 <= cx <= width and 0 <= cy <= height
    if not fits:
        return None
    return RoundField(float((cx + 0.5) / width), float((cy + 0.5) / height), radius / width)


def seen_blocks(field: RoundField | None, aspect: float) -> NDArray[np.bool_]:
    """Blocks ``[24, 32]`` of the flat field that lie wholly inside the field of view.

    Args:
        field: None for all of them.
        aspect: width over height of the frame.
    """
    rows, columns = GRID
    if field is None:
        return np.ones(GRID, np.bool_)
    y, x = np.mgrid[:rows, :columns] + 0.5
    across = np.abs(x / columns - field.x) + 0.5 / columns
    down = (np.abs(y / rows - field.y) + 0.5 / rows) / aspect
    return np.asarray(np.hypot(across, down) < field.radius, np.bool_)
