"""Round things of about a known size in a density picture, touching ones separated.

The picture is cut at several densities, since cells of one field differ in theirs. A thing that
is not round as it stands is eroded step by step: two discs that touch come apart, and the eroded
disc is as round as the whole one and smaller by a known amount.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import Mask
from heme_edge.detect.stain import Plane
from heme_edge.optics.density import steepness

MIDDLE_PX = 37.0
SMALLEST_PX, LARGEST_PX = 20.0, 68.0
"""Diameters that are looked for at the working scale: an octave around the middle, and as much
beyond as red cells of one patient differ."""
DENSITIES = (0.035, 0.05, 0.075, 0.11, 0.16, 0.24)
"""Densities at which the picture is cut; a cell counts at the one nearest half its own."""
ERODED_PX = (0, 5, 9)
ASPECT = 1.25
SOLIDITY = 0.95
ELLIPSE = 0.06
"""How much the area may differ from that of the fitted ellipse, as a share."""
HOLE_PX = 0.75 * LARGEST_PX
"""Convex holes smaller than this are pale middles; others are gaps between cells."""
SPECK_PX2 = 60.0
EDGE_SIGMA = 1 / float(np.sqrt(2 * np.pi))
"""Sigma of the blur of an edge: its height over its steepness, times this."""
SHRINKS = 1.3
"""A blur of sigma s makes a disc of diameter d smaller by this times s² / d where it is cut at half
its density: measured on drawn discs of 7 to 18 px (1.1 to 1.9; of light, 2 by calculation)."""
MOST_BLUR = 0.25
"""Of the diameter; what is less sharp is out of focus."""


@dataclass(frozen=True)
class RoundObject:
    """One round thing, px of the working scale.

    Attributes:
        x, y: its centre.
        diameter: of a circle as large, at the density halfway up its edge.
        density: of its body.
        steepness: density per px at its edge.
        cut: the density at which it was found.
        touching: whether it had to be separated from others.
    """

    x: float
    y: float
    diameter: float
    density: float
    steepness: float
    cut: float
    touching: bool


@dataclass(frozen=True)
class _Outline:
    points: NDArray[np.int32]
    x: float
    y: float
    diameter: float
    eroded: int


def round_objects(density: Plane, field: Mask) -> list[RoundObject]:
    """Round things of the looked-for sizes that lie wholly in the field, each once.

    Args:
        density: ``[H, W]`` at the working scale.
        field: the field of view.
    """
    inner = cv2.erode(field.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0)
    rim = np.asarray(inner, np.uint8)
    steep = steepness(density)
    found = [
        _measured(outline, density, steep, cut)
        for cut in DENSITIES
        for outline in _outlines(_filled(np.asarray((density > cut) & field, np.bool_)), rim)
    ]
    sized = [one for one in found if SMALLEST_PX <= one.diameter < LARGEST_PX]
    return _each_once(sized)


def _filled(inside: Mask) -> Image:
    """The mask (0 or 1) with the pale middles of its cells filled."""
    mask = inside.astype(np.uint8)
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return mask
    pairs = zip(contours, tree[0], strict=True)
    inner = [np.asarray(contour, np.int32) for contour, links in pairs if links[3] >= 0]
    holes = [hole for hole in inner if _pale(hole)]
    return np.asarray(cv2.drawContours(mask, holes, -1, 1, -1), np.uint8)


def _pale(hole: NDArray[np.int32]) -> bool:
    area = cv2.contourArea(hole)
    if area < SPECK_PX2:
        return True
    return area < np.pi / 4 * HOLE_PX**2 and area > 0.9 * cv2.contourArea(cv2.convexHull(hole))


def _outlines(mask: Image, rim: Image) -> Iterator[_Outline]:
    """Round parts of the mask, the least eroded form of each."""
    whole = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(whole, cv2.DIST_L2, 5)[1:-1, 1:-1]
    done = np.zeros_like(mask)
    for eroded in ERODED_PX:
        left = ((depth > eroded) & (done == 0)).astype(np.uint8)
        for points in _parts_of_size(left, eroded):
            outline = _if_round(points, eroded)
            if outline is not None and rim[points[:, 1], points[:, 0]].all():
                cv2.drawContours(done, [points.reshape(-1, 1, 2)], -1, 1, -1)
                yield outline


def _parts_of_size(mask: Image, eroded: int) -> Iterator[NDArray[np.int32]]:
    """Outlines ``[N, 2]`` of the parts that may be a whole cell once the erosion is undone."""
    height, width = mask.shape
    for contour in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        x, y, w, h = cv2.boundingRect(contour)
        if max(w, h) + 2 * eroded > ASPECT * LARGEST_PX:
            continue
        if min(w, h) + 2 * eroded < SMALLEST_PX / ASPECT or len(contour) < 20:
            continue
        if min(x, y, width - x - w, height - y - h) > eroded + 1:
            yield np.asarray(contour[:, 0], np.int32)


def _if_round(points: NDArray[np.int32], eroded: int) -> _Outline | None:
    """The outline with its size; None where it is no ellipse, too long, or notched.

    Contours run through pixel centres, half a px inside the edge.
    """
    area = cv2.contourArea(points)
    if area < SOLIDITY * cv2.contourArea(cv2.convexHull(points)):
        return None
    (x, y), axes, _ = cv2.fitEllipse(points)
    short, long = sorted(axes)
    if long + 1 + 2 * eroded > ASPECT * (short + 1 + 2 * eroded):
        return None
    if abs(area - np.pi / 4 * short * long) > ELLIPSE * area:
        return None
    return _Outline(points, x, y, float(np.sqrt(4 * area / np.pi)) + 1 + 2 * eroded, eroded)


def _measured(outline: _Outline, density: Plane, steep: Plane, cut: float) -> RoundObject:
    """The object with its diameter moved from the cut to half of its own density.

    Where it touches others the density says nothing of its edge, and its size stays at the cut.
    """
    reach = max(2, int(0.4 * outline.diameter))
    x, y = round(outline.x), round(outline.y)
    body = density[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    own = float(np.percentile(body, 75))
    edge = _edge(outline, steep)
    limit = 0.0 if outline.eroded else 0.08 * outline.diameter
    moved = float(np.clip(2 * (cut - own / 2) / max(edge, 1e-3), -limit, limit))
    diameter = _unblurred(outline.diameter + moved, own / max(edge, 1e-3))
    return RoundObject(outline.x, outline.y, diameter, own, edge, cut, outline.eroded > 0)


def _unblurred(diameter: float, edge_px: float) -> float:
    """The diameter without the blur that an edge so wide has."""
    sigma = min(edge_px * EDGE_SIGMA, MOST_BLUR * diameter)
    return diameter + SHRINKS * sigma**2 / diameter


def _edge(outline: _Outline, steep: Plane) -> float:
    """Steepness along the edge: the median, or the upper quartile where others touch it."""
    if not outline.eroded:
        return float(np.median(steep[outline.points[:, 1], outline.points[:, 0]]))
    away = outline.points - np.array([outline.x, outline.y])
    outward = away / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1)[:, None]
    x, y = np.rint(outline.points + outline.eroded * outward).astype(np.intp).T
    height, width = steep.shape
    return float(np.percentile(steep[y.clip(0, height - 1), x.clip(0, width - 1)], 75))


def _each_once(objects: list[RoundObject]) -> list[RoundObject]:
    """Of those with one centre the one cut nearest half its density, whole before eroded."""

    def off(one: RoundObject) -> tuple[bool, float]:
        return one.touching, float(abs(np.log(2 * one.cut / max(one.density, 1e-3))))

    kept: list[RoundObject] = []
    for one in sorted(objects, key=off):
        if all((one.x - k.x) ** 2 + (one.y - k.y) ** 2 > (SMALLEST_PX / 2) ** 2 for k in kept):
            kept.append(one)
    return kept
