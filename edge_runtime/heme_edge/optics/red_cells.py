"""Round red cells of a field whose scale nobody knows.

The field is looked at in six working scales, an octave apart, so that a red cell may be 5 to 290 px
across. Only the middle of a large field is looked at where cells are small: there are plenty.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import Mask, field_of_view
from heme_edge.detect.stain import Plane, stain
from heme_edge.detect.threshold import nuclear_level
from heme_edge.detect.working_scale import shrunk
from heme_edge.optics.density import green_density
from heme_edge.optics.round_objects import MIDDLE_PX, RoundObject, round_objects

FIRST_PX = 6.4
"""Middle of the smallest sizes, px of the image."""
OCTAVES = 6
MOST_PIXELS = 250_000
"""Pixels looked at in one octave."""
LEAST_SIDE_PX = 60
FAINT = 0.06
"""No red cell is paler than this green density."""
NUCLEAR_PERCENTILE = 90.0
LOOK_PX = 640


@dataclass(frozen=True)
class RedCell:
    """One round cell without a nucleus, px of the image.

    Attributes:
        x_px, y_px: its centre.
        diameter_px: of a circle as large, at the density halfway up its edge.
        sharpness: diameter over the width of its edge.
        share: its part of the area that was looked at.
        octave: number of the working scale.
    """

    x_px: float
    y_px: float
    diameter_px: float
    sharpness: float
    share: float
    octave: int


@dataclass(frozen=True)
class _View:
    """A part of the field at a working scale: ``zoom`` px for one of the image from x, y on."""

    image: Image
    field: Mask
    zoom: float
    x: int
    y: int
    octave: int


def octave_px(octave: int) -> float:
    """Diameter (px of the image) in the middle of an octave."""
    return FIRST_PX * 2.0**octave


def red_cells(image: Image, about_px: float | None = None) -> list[RedCell]:
    """Round things without a nucleus in one field; most are red cells.

    One whose size lies between two octaves is found in both.

    Args:
        image: RGB uint8 ``[H, W, 3]`` of any scale.
        about_px: their diameter, px of the image, where it is about known: then they are looked
            for at the one working scale that suits it; None: they may be of any size.
    """
    field = field_of_view(image)
    level = _nuclear_level(image, field)
    middles = [octave_px(one) for one in range(OCTAVES)] if about_px is None else [about_px]
    views = (_view(image, field, one, middle) for one, middle in enumerate(middles))
    return [cell for view in views if view is not None for cell in _cells(view, level)]


def _nuclear_level(image: Image, field: Mask) -> float:
    """Nuclear stain that only nuclei have, from a small copy of the field."""
    small = shrunk(image, LOOK_PX)
    size = small.shape[1], small.shape[0]
    where = cv2.resize(field.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return nuclear_level(stain(small, where), where) if where.any() else 1.0


def _view(image: Image, field: Mask, octave: int, middle_px: float) -> _View | None:
    """The middle of the field, sizes about ``middle_px`` in view; None where that is too small."""
    zoom = MIDDLE_PX / middle_px
    height, width = field.shape
    part = min(1.0, float(np.sqrt(MOST_PIXELS / (height * width * zoom**2))))
    high, wide = int(height * part), int(width * part)
    size = (round(wide * zoom), round(high * zoom))
    if min(size) < LEAST_SIDE_PX:
        return None
    y, x = (height - high) // 2, (width - wide) // 2
    middle = np.s_[y : y + high, x : x + wide]
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    seen = np.asarray(cv2.resize(image[middle], size, interpolation=how), np.uint8)
    lit = cv2.resize(field[middle].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return _View(seen, lit, zoom, x, y, octave) if lit.any() else None


def _cells(view: _View, level: float) -> list[RedCell]:
    density = green_density(view.image, view.field)
    found = [one for one in round_objects(density, view.field) if one.density >= FAINT]
    if not found:
        return []
    nuclear = stain(view.image, view.field).nuclear
    area = int(np.count_nonzero(view.field))
    return [_cell(one, view, area) for one in found if _nuclear(one, nuclear) < level]


def _nuclear(one: RoundObject, nuclear: Plane) -> float:
    """Nuclear stain of the darker part of the object."""
    reach = int(0.35 * one.diameter)
    x, y = round(one.x), round(one.y)
    body = nuclear[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return float(np.percentile(body, NUCLEAR_PERCENTILE))


def _cell(one: RoundObject, view: _View, area: int) -> RedCell:
    sharp = one.steepness * one.diameter / one.density
    return RedCell(
        view.x + (one.x + 0.5) / view.zoom - 0.5,
        view.y + (one.y + 0.5) / view.zoom - 0.5,
        one.diameter / view.zoom,
        sharp,
        float(np.pi / 4 * one.diameter**2 / area),
        view.octave,
    )
