"""Why red cells could not be measured, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.detect.working_scale import shrunk
from heme_edge.optics.density import green_density, steepness
from heme_edge.optics.white import is_black, is_overexposed

OUT_OF_FOCUS = "The picture is out of focus."
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
    if all(is_black(image) for image in images):
        return "The picture is black."
    if all(is_overexposed(image) for image in images):
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


def _cover_and_edge(image: Image) -> tuple[float, float]:
    """Share of the field that cells cover, and steepness of their edges per px and step."""
    small = shrunk(image, LOOK_PX)
    field = field_of_view(small)
    density = green_density(small, field)
    on_glass = field & (density > COVERED_DENSITY)
    if not on_glass.any():
        return 0.0, 0.0
    steep = steepness(density)[on_glass]
    step = float(np.percentile(density[on_glass], 75))
    return float(np.mean(on_glass) / np.mean(field)), float(np.percentile(steep, 90)) / step
