"""Why red cells could not be measured, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.optics.density import green_density

OUT_OF_FOCUS = "The picture is out of focus."
BLACK = 16.0
"""A frame whose brightest pixels stay below this of 255 is black."""
SATURATED, SATURATED_SHARE = 250, 0.9
"""A frame is saturated when this share of it is at least so bright in its darkest channel."""
LOOK_PX = 640
COVERED_DENSITY, COVERED_SHARE = 0.06, 0.06
"""Density of cells, and the share of the field from which they are clumps and not few."""
EDGE = 0.03
"""Edges softer than this density per px at ``LOOK_PX``, as a share of their step, are blurred."""


def why_no_cells(images: Sequence[Image], found: int, wanted: int, blurred: bool) -> str:
    """One sentence for pictures in which fewer round red cells were found than wanted.

    Args:
        images: RGB uint8 ``[H, W, 3]``, at least one.
        found, wanted: red cells.
        blurred: whether the edges of those found are.
    """
    if all(_brightest(image) < BLACK for image in images):
        return "The picture is black."
    if all(_saturated(image) for image in images):
        return "The picture is saturated: it is white nearly everywhere."
    covered, edge = np.max([_cover_and_edge(image) for image in images], axis=0)
    if (blurred and found) or (covered > COVERED_SHARE and edge < EDGE):
        return OUT_OF_FOCUS
    if covered > COVERED_SHARE:
        return (
            "There are only clumps or nucleated cells:"
            f" {found} red cells are round and separate, {wanted} are needed."
        )
    if found == 0:
        return "There are no red cells in the picture."
    return f"There are too few red cells: {found} round ones, {wanted} are needed."


def _brightest(image: Image) -> float:
    return float(np.percentile(image.max(axis=2), 99))


def _saturated(image: Image) -> bool:
    return float(np.mean(image.min(axis=2) >= SATURATED)) > SATURATED_SHARE


def _cover_and_edge(image: Image) -> tuple[float, float]:
    """Share of the field that cells cover, and steepness of their edges per px and step."""
    scale = min(1.0, LOOK_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    field = field_of_view(small)
    density = green_density(small, field)
    on_glass = field & (density > COVERED_DENSITY)
    if not on_glass.any():
        return 0.0, 0.0
    across, down = (cv2.Sobel(density, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    steep = cv2.magnitude(across, down)[on_glass]
    step = float(np.percentile(density[on_glass], 75))
    return float(np.mean(on_glass) / np.mean(field)), float(np.percentile(steep, 90)) / step
