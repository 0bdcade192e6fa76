"""The whole cell around a nucleus: where its cytoplasm ends, its centre and its size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.detect.field_of_view import Mask
from heme_edge.detect.split import Labels
from heme_edge.detect.stain import Plane, Stain
from heme_edge.detect.threshold import RED_CELLS_BELOW, RED_CELLS_SHARE

CYTOPLASM_UM = 4.5
"""Cytoplasm reaches this far from the nucleus at most."""
GLASS_DENSITY = 0.07
"""Least red + green density of cytoplasm."""
BLUER = 0.08
"""How much the share of nuclear stain in the density of cytoplasm exceeds red cells'."""
DENSER = 1.8
"""How many times denser than red cells anything is that is not one."""
BRIDGE_UM = 1.0
"""Radius of the opening that cuts thin bridges to neighbours."""


@dataclass(frozen=True)
class Extent:
    """One whole cell, in px of the working scale.

    Attributes:
        x, y: centroid of nucleus and cytoplasm.
        area: px.
    """

    x: float
    y: float
    area: float


def cytoplasm(colours: Stain, field: Mask) -> Mask:
    """Pixels that may be cytoplasm: on the glass and unlike the field's own red cells.

    Cytoplasm is bluer than red cells, or (eosinophils, promyelocytes) much denser. Where red
    cells are few, everything on the glass may be cytoplasm.
    """
    on_glass = (colours.tissue > GLASS_DENSITY) & field
    red = colours.red_cell & on_glass & (colours.nuclear < RED_CELLS_BELOW)
    if np.count_nonzero(red) < RED_CELLS_SHARE * np.count_nonzero(field):
        return on_glass
    blueness = float(np.median(colours.nuclear[red] / colours.tissue[red])) + BLUER
    dense = DENSER * float(np.median(colours.tissue[red]))
    bluer: Mask = np.asarray(colours.nuclear > blueness * colours.tissue, np.bool_)
    denser: Mask = np.asarray(colours.tissue > dense, np.bool_)
    return np.logical_and(on_glass, np.logical_or(bluer, denser))


def whole_cells(
    nuclei: Mask, zone: Labels, distance: Plane, cytoplasm: Mask, um_per_px: float, count: int
) -> list[Extent]:
    """Extent of each cell.

    Args:
        nuclei: nuclear pixels.
        zone: the cell each pixel is nearest to, 0..count-1.
        distance: px to the nearest nucleus.
        cytoplasm: pixels that may be cytoplasm.
        um_per_px: working scale.
        count: number of cells.
    """
    near = distance <= CYTOPLASM_UM / um_per_px
    reach = max(1, round(BRIDGE_UM / um_per_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = nuclei.astype(np.uint8)
    body = np.maximum((cytoplasm & near).astype(np.uint8), core)
    body = np.maximum(np.asarray(cv2.morphologyEx(body, cv2.MORPH_OPEN, disc), np.uint8), core)
    inside = np.where(nuclei, zone, -1)
    boxes = _boxes(inside, count, round(CYTOPLASM_UM / um_per_px) + 1)
    return [_extent(body, nuclei, zone, number, box) for number, box in enumerate(boxes)]


def _boxes(inside: Labels, count: int, margin: int) -> list[tuple[slice, slice]]:
    """Bounding boxes of labels 0..count-1, widened by the margin."""
    y, x = np.nonzero(inside >= 0)
    label = inside[y, x]
    height, width = inside.shape
    x0, y0 = np.full(count, width), np.full(count, height)
    x1, y1 = np.zeros(count, np.intp), np.zeros(count, np.intp)
    np.minimum.at(x0, label, x)
    np.minimum.at(y0, label, y)
    np.maximum.at(x1, label, x)
    np.maximum.at(y1, label, y)
    return [
        (
            slice(max(0, y0[i] - margin), y1[i] + margin + 1),
            slice(max(0, x0[i] - margin), x1[i] + margin + 1),
        )
        for i in range(count)
    ]


def _extent(
    body: NDArray[np.uint8], nuclei: Mask, zone: Labels, number: int, box: tuple[slice, slice]
) -> Extent:
    """Centroid and area of the part of the body that holds the nucleus of one cell."""
    own = zone[box] == number
    core = own & nuclei[box]
    count, parts = cv2.connectedComponents((body[box] * own).astype(np.uint8), connectivity=4)
    kept = np.zeros(count, np.uint8)
    kept[parts[core]] = 1
    cell = kept[parts]
    moments = cv2.moments(cell, binaryImage=True)
    area = max(moments["m00"], 1.0)
    return Extent(moments["m10"] / area + box[1].start, moments["m01"] / area + box[0].start, area)
