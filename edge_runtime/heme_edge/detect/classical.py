"""Nucleated cells by stain colour, with OpenCV alone: no weights, any microscope."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.base import Detector
from heme_edge.detect.extent import Extent, cytoplasm, whole_cells
from heme_edge.detect.field_of_view import Mask, field_of_view
from heme_edge.detect.split import cells_of_pieces, depth, pieces
from heme_edge.detect.stain import Stain, stain
from heme_edge.detect.threshold import nuclear_level
from heme_edge.results import DetectedCell

LOOKS_FOR = ("nucleated cells",)
"""Red cells without a nucleus (ER5, ER6) and platelets are never searched."""

WORKING_UM_PER_PX = 0.5
LINEAR_FROM = 0.75
"""A linear step may shrink a field to this share of its side: more would alias."""
LEAST_SIDE_PX = 8
"""A field smaller than this at the working scale holds no cell."""
SPECK_UM = 0.5
"""Radius of the opening that removes granules."""
LEAST_NUCLEUS_UM2 = 23.0
"""Area of the smallest dark nuclei (late normoblasts); platelets are smaller or paler."""
DARK = 0.6
PALE_UM2 = 25.0
"""A nucleus whose mean index is below ``DARK`` must be larger: so much per unit of index."""
LOCAL_UM = 2.5
LOCAL_SHARE = 0.4
"""A nuclear pixel has at least this share of the darkest stain within ``LOCAL_UM``."""
FAR_UM = 5.0
FAR_SHARE = 0.28
"""The same within the reach of a blue cytoplasm."""
EDGE_UM = 1.5
"""Rim of a round field of view that is not searched: it is coloured by the eyepiece."""


@dataclass(frozen=True)
class ClassicalDetector(Detector):
    """Finds nuclei by their stain, joins lobes, and returns the whole cells.

    Args:
        min_score: cells with a lower score are left out.
    """

    min_score: float = 0.5

    @property
    def name(self) -> str:
        """``classical``."""
        return "classical"

    @property
    def looks_for(self) -> tuple[str, ...]:
        """Nucleated cells."""
        return LOOKS_FOR

    def find(self, image: Image, um_per_px: float) -> list[DetectedCell]:
        """Cells of one field, highest score first.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: scale, 0.05 to 1.0 µm/px.
        """
        small = at_working_scale(image, um_per_px)
        if min(small.shape[:2]) < LEAST_SIDE_PX:
            return []
        cells = find_at_working_scale(small)
        scale_x, scale_y = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        found = [
            DetectedCell(
                (extent.x + 0.5) * scale_x - 0.5,
                (extent.y + 0.5) * scale_y - 0.5,
                float(np.sqrt(extent.area * scale_x * scale_y / np.pi)),
                score,
            )
            for extent, score in cells
            if score >= self.min_score
        ]
        return sorted(found, key=lambda cell: -cell.score)


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


def find_at_working_scale(image: Image) -> list[tuple[Extent, float]]:
    """Extents and scores of the cells of a field at the working scale, in no order."""
    field = _searched(image)
    if not field.any():
        return []
    colours = stain(image, field)
    level = nuclear_level(colours, field)
    nuclei = _nuclei(colours, field, level)
    hills = depth(nuclei, WORKING_UM_PER_PX)
    parts = pieces(nuclei, hills, WORKING_UM_PER_PX)
    if parts.count == 0:
        return []
    cell_of = cells_of_pieces(parts, hills, colours, WORKING_UM_PER_PX)
    zone = cell_of[parts.nearest]
    inside = nuclei & (parts.distance == 0)
    count = int(cell_of.max()) + 1
    extents = whole_cells(
        inside, zone, parts.distance, cytoplasm(colours, field), WORKING_UM_PER_PX, count
    )
    return list(zip(extents, _scores(colours, inside, zone, count, level), strict=True))


def _searched(image: Image) -> Mask:
    """The field of view without its rim."""
    field = field_of_view(image)
    if field.all():
        return field
    return cv2.erode(field.astype(np.uint8), disc(EDGE_UM), borderValue=1) > 0


def disc(radius_um: float) -> Image:
    """A round structuring element at the working scale."""
    reach = max(1, round(radius_um / WORKING_UM_PER_PX))
    side = 2 * reach + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _nuclei(colours: Stain, field: Mask, level: float) -> Mask:
    """Nuclear pixels without specks; cytoplasm beside a dark nucleus is not nuclear."""
    beside = LOCAL_SHARE * cv2.dilate(colours.nuclear, disc(LOCAL_UM))
    side = 2 * round(FAR_UM / WORKING_UM_PER_PX) + 1
    around = FAR_SHARE * cv2.dilate(colours.nuclear, np.ones((side, side), np.uint8))
    raised = np.maximum(np.maximum(beside, around), level)
    raw = ((colours.nuclear > raised) & field).astype(np.uint8)
    return cv2.morphologyEx(raw, cv2.MORPH_OPEN, disc(SPECK_UM)) > 0


def _scores(
    colours: Stain, inside: Mask, zone: NDArray[np.int32], count: int, level: float
) -> list[float]:
    """How sure each cell is, from the area and the darkness of its nucleus."""
    label = zone[inside]
    pixels = np.maximum(np.bincount(label, minlength=count), 1)
    area = pixels * WORKING_UM_PER_PX**2
    dark = np.bincount(label, colours.nuclear[inside], count) / pixels
    least = LEAST_NUCLEUS_UM2 + PALE_UM2 * np.maximum(DARK - dark, 0.0)
    large = 1 / (1 + np.exp(-(area - least) / 3.0))
    strong = 1 / (1 + np.exp(-(dark / level - 1.25) / 0.08))
    return [float(value) for value in large * strong]
