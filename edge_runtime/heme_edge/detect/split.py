"""Which nuclear pixels belong to one cell: touching nuclei apart, lobes together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.detect.field_of_view import Mask
from heme_edge.detect.stain import TISSUE_DENSITY, Plane, Stain

Labels = NDArray[np.int32]
Points = NDArray[np.float32]

SMOOTH_UM = 0.5
"""Spread of the blur of the depth: a rough outline gives no maxima of its own."""
PEAK_UM = 1.2
"""A piece's maximum is the highest within this radius."""
WIDE_NECK = 0.66
"""Pieces are one nucleus when their neck is at least this share of the narrower one's width."""
LOBE_UM2 = 50.0
"""The smaller of two joined pieces is a lobe: at most this large."""
LOBED_UM2 = 120.0
"""Nuclear area of one lobed cell, at most."""
LOBED_UM = 13.0
"""Diameter of the circle around the lobes of one cell, at most."""
FAR_LOBED_UM = 16.5
"""The same where the cell has no waist between the lobes, as two cells side by side have."""
BLUE_SHARE = 0.42
"""Below this share of a neighbour's index a piece is the neighbour's blue cytoplasm."""
BLUE_GAP_UM = 6.5
"""Gap between the two, at most: near a nucleus its own stain raises the level."""
BLUE_UM = 20.0
"""Diameter of the circle around a nucleus and its blue cytoplasm, at most."""
WAIST = 0.65
"""Width of a cell between its lobes over the diameter of the circle around them, at least."""
GAP_UM = 5.0
"""Gap between two lobes of one cell, at most; it must be filled with cytoplasm."""


@dataclass(frozen=True)
class Pieces:
    """Parts of nuclei, numbered from 1.

    Attributes:
        nearest: number of the nearest piece for every pixel, ``[H, W]``.
        distance: distance to it in px, 0 inside, ``[H, W]``.
        count: how many.
    """

    nearest: Labels
    distance: Plane
    count: int


@dataclass(frozen=True)
class Neighbours:
    """Pairs of adjacent pieces.

    Attributes:
        pairs: numbers of the pieces, ``[P, 2]``.
        gap: px between them; about 0 where they touch, ``[P]``.
        saddle: deepest point of their border, µm, ``[P]``.
    """

    pairs: NDArray[np.intp]
    gap: NDArray[np.float64]
    saddle: NDArray[np.float64]


def depth(nuclei: Mask, um_per_px: float) -> Plane:
    """Depth in the nuclear mask, µm: its maxima are lobes and nuclei, its saddles their necks."""
    inside = cv2.copyMakeBorder(nuclei.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    smooth = cv2.GaussianBlur(deep, (0, 0), SMOOTH_UM / um_per_px)
    return np.asarray(smooth * um_per_px, np.float32)


def pieces(nuclei: Mask, hills: Plane, um_per_px: float) -> Pieces:
    """Cuts the nuclear mask along the valleys of its depth.

    Args:
        nuclei: nuclear pixels ``[H, W]``.
        hills: ``depth`` of them.
        um_per_px: working scale.
    """
    inside, count = _climb(nuclei, hills, max(1, round(PEAK_UM / um_per_px)))
    if count == 0:
        return Pieces(inside, np.zeros(nuclei.shape, np.float32), 0)
    apart = (inside == 0).astype(np.uint8)
    distance, zone = cv2.distanceTransformWithLabels(
        apart, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = np.zeros(int(zone.max()) + 1, np.int32)
    number[zone[inside > 0]] = inside[inside > 0]
    return Pieces(number[zone], np.asarray(distance, np.float32), count)


def _climb(nuclei: Mask, hills: Plane, reach: int) -> tuple[Labels, int]:
    """Numbers each nuclear pixel by the hilltop that steepest ascent leads to.

    Each pixel points to the highest pixel within ``reach``; pointers are then followed, twice
    as far each time. (OpenCV's watershed goes by differences of colour, not by height.)
    """
    wide = cv2.copyMakeBorder(
        np.where(nuclei, hills, -1.0), *(reach,) * 4, cv2.BORDER_CONSTANT, value=-1.0
    )
    flat = wide.ravel()
    own = np.flatnonzero(flat >= 0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    dy, dx = np.nonzero(disc)
    steps = (dy - reach) * wide.shape[1] + dx - reach
    up = np.arange(flat.size)
    up[own] = own + steps[np.argmax(flat[own[:, None] + steps], axis=1)]
    while not np.array_equal(up[own], up[up[own]]):
        up[own] = up[up[own]]
    tops, number = np.unique(up[own], return_inverse=True)
    labels = np.zeros(flat.size, np.int32)
    labels[own] = number + 1
    inner = labels.reshape(wide.shape)[reach:-reach, reach:-reach]
    return np.ascontiguousarray(inner), len(tops)


def neighbours(parts: Pieces, hills: Plane) -> Neighbours:
    """Pairs of pieces that share a border of nearest zones, with gap and saddle."""
    found = [_across(parts, hills, axis) for axis in (0, 1)]
    first, second, gap, saddle = (np.concatenate(values) for values in zip(*found, strict=True))
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys, where = np.unique(low.astype(np.int64) * (parts.count + 1) + high, return_inverse=True)
    gaps = np.full(len(keys), np.inf)
    np.minimum.at(gaps, where, gap)
    saddles = np.zeros(len(keys))
    np.maximum.at(saddles, where, saddle)
    pairs = np.stack([keys // (parts.count + 1), keys % (parts.count + 1)], axis=1)
    return Neighbours(pairs.astype(np.intp), gaps, saddles)


def _across(parts: Pieces, hills: Plane, axis: int) -> tuple[NDArray[np.float64], ...]:
    """Neighbouring pixels of different zones along one axis: zones, gap, lower hill."""
    a, b = (slice(None, -1), slice(1, None))
    one, two = (
        ((a, slice(None)), (b, slice(None))) if axis == 0 else ((slice(None), a), (slice(None), b))
    )
    differ = parts.nearest[one] != parts.nearest[two]
    return (
        parts.nearest[one][differ],
        parts.nearest[two][differ],
        parts.distance[one][differ] + parts.distance[two][differ],
        np.minimum(hills[one][differ], hills[two][differ]),
    )


def cells_of_pieces(
    parts: Pieces, hills: Plane, colours: Stain, um_per_px: float
) -> NDArray[np.int32]:
    """The cell (0, 1, ...) of each piece; entry 0 is unused and -1.

    Closest pieces are joined first. Two groups become one cell when they meet in a wide neck,
    or when one is a lobe and both together are no larger than one lobed nucleus.
    """
    groups = _Groups(parts, hills, colours, um_per_px)
    near = neighbours(parts, hills)
    for k in np.lexsort((-near.saddle, near.gap)):
        groups.consider(int(near.pairs[k, 0]), int(near.pairs[k, 1]), near.gap[k], near.saddle[k])
    roots = np.array([groups.root(i) for i in range(1, parts.count + 1)], np.intp)
    _, number = np.unique(roots, return_inverse=True)
    return np.concatenate([[-1], number]).astype(np.int32)


class _Groups:
    """Union of pieces into cells."""

    def __init__(self, parts: Pieces, hills: Plane, colours: Stain, um_per_px: float) -> None:
        inside = np.where(parts.distance == 0, parts.nearest, 0)
        self._um = um_per_px
        self._tissue = colours.tissue > TISSUE_DENSITY
        self._nearest = parts.nearest
        self._parent = list(range(parts.count + 1))
        self._area = np.bincount(inside.ravel(), minlength=parts.count + 1) * um_per_px**2
        weights = colours.nuclear.ravel() * um_per_px**2
        self._stain = np.bincount(inside.ravel(), weights, minlength=parts.count + 1)
        self._top = np.zeros(parts.count + 1)
        nuclear = np.flatnonzero(inside)
        np.maximum.at(self._top, inside.ravel()[nuclear], hills.ravel()[nuclear])
        self._points = _outlines(inside, parts.count)

    def root(self, piece: int) -> int:
        while self._parent[piece] != piece:
            piece = self._parent[piece]
        return piece

    def consider(self, one: int, two: int, gap: float, saddle: float) -> None:
        """Joins the cells of two neighbouring pieces where they are one."""
        a, b = self.root(one), self.root(two)
        if a == b:
            return
        neck = saddle / max(min(self._top[one], self._top[two]), 1e-6)
        gap_um = gap * self._um
        if neck >= WIDE_NECK or self._lobes(a, b, gap_um) or self._blue(a, b, gap_um):
            self._join(a, b)

    def _blue(self, a: int, b: int, gap_um: float) -> bool:
        """Whether the paler of two is the blue cytoplasm of the darker."""
        low, high = sorted(self._stain[i] / self._area[i] for i in (a, b))
        near = gap_um <= BLUE_GAP_UM and low < BLUE_SHARE * high
        return near and self._across(a, b) <= BLUE_UM and self._filled(a, b)

    def _across(self, a: int, b: int) -> float:
        """Diameter of the circle around two, µm."""
        points = np.concatenate([self._points[a], self._points[b]])
        return 2 * float(cv2.minEnclosingCircle(points)[1]) * self._um

    def _lobes(self, a: int, b: int, gap_um: float) -> bool:
        small, both = min(self._area[a], self._area[b]), self._area[a] + self._area[b]
        if gap_um > GAP_UM or small > LOBE_UM2 or both > LOBED_UM2:
            return False
        across = self._across(a, b)
        if across > FAR_LOBED_UM or not self._filled(a, b):
            return False
        return across <= LOBED_UM or self._width(a, b) * self._um >= WAIST * across

    def _width(self, a: int, b: int) -> float:
        """Tissue nearest to these two, px, on the perpendicular midway between their middles."""
        one, two = self._points[a].mean(axis=0), self._points[b].mean(axis=0)
        along = (two - one) / max(float(np.hypot(*(two - one))), 1e-6)
        side = np.array([-along[1], along[0]])
        return (
            1
            + self._reach((one + two) / 2, side, (a, b))
            + self._reach((one + two) / 2, -side, (a, b))
        )

    def _reach(self, start: Points, step: Points, own: tuple[int, int]) -> int:
        """Px from a point along a step to the glass, another cell or the picture's end."""
        height, width = self._tissue.shape
        for k in range(1, round(FAR_LOBED_UM / self._um)):
            x, y = (start + k * step).round().astype(int)
            if not (0 <= x < width and 0 <= y < height and self._tissue[y, x]):
                return k - 1
            if self.root(int(self._nearest[y, x])) not in own:
                return k - 1
        return k

    def _filled(self, a: int, b: int) -> bool:
        """Whether the shortest way between two outlines leads over no bare glass."""
        one, two = self._points[a], self._points[b]
        apart = np.square(one[:, None] - two[None]).sum(axis=2)
        i, j = np.unravel_index(int(np.argmin(apart)), apart.shape)
        way = np.linspace(one[i], two[j], 2 + int(np.sqrt(apart[i, j]))).round().astype(np.intp)
        return bool(self._tissue[way[:, 1], way[:, 0]].all())

    def _join(self, a: int, b: int) -> None:
        self._parent[b] = a
        self._area[a] += self._area[b]
        self._stain[a] += self._stain[b]
        self._top[a] = max(self._top[a], self._top[b])
        self._points[a] = np.concatenate([self._points[a], self._points[b]])


def _outlines(inside: Labels, count: int) -> list[Points]:
    """Border points (x, y) of each piece ``[K, 2]``; entry 0 is empty."""
    edge = inside > 0
    edge[1:-1, 1:-1] &= (
        (inside[:-2, 1:-1] != inside[1:-1, 1:-1])
        | (inside[2:, 1:-1] != inside[1:-1, 1:-1])
        | (inside[1:-1, :-2] != inside[1:-1, 1:-1])
        | (inside[1:-1, 2:] != inside[1:-1, 1:-1])
    )
    y, x = np.nonzero(edge)
    order = np.argsort(inside[y, x], kind="stable")
    points = np.stack([x, y], axis=1).astype(np.float32)[order]
    ends = np.searchsorted(inside[y, x][order], np.arange(count + 2))
    return [points[ends[i] : ends[i + 1]] for i in range(count + 1)]
