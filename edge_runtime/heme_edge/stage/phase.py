"""How far two views of the slide lie apart: phase correlation, proved on what both show.

All is done on the green of the frame, where every blood stain absorbs, reduced to 320 to 480 px
across, without what is wider than a cell or does not move with the slide. Offsets are in px of
that plane: the place of the second view's first pixel in the first.

Phase correlation: Kuglin & Hines, *The phase correlation image alignment method*, Proc. Int.
Conf. Cybernetics and Society 1975:163-165, as OpenCV has it. A peak is believed for what it
explains: the normalised correlation of the overlap after shifting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image

WIDEST_PX = 480
"""A frame is halved until it is no wider."""
HIGH_PASS_PX = 25
"""Side of the box whose mean is taken off: about three cells."""
COARSE = 4
"""From a view to its coarse one."""
AGAIN_PX = 3.0
"""A guess that was off by more is bettered once more, on the right overlap."""
DOUBTED = 0.4
"""A peak that explains less is not believed without looking further."""
STEPS, STEP_PX = 6, 2.0
"""Steps along the slopes, and how long one may be."""
FLAT = 6.0
"""Deviation in grey levels below which a plane shows noise and remains of dirt, not cells."""
LEAST_SIDE_PX = 24
"""An overlap narrower than this tells nothing."""
PARTS = 3
"""An overlap is checked in so many parts each way."""

Plane = NDArray[np.float32]
Offset = tuple[float, float]


@dataclass(frozen=True)
class View:
    """A reduced frame, ready to be matched.

    Attributes:
        plane: float32 ``[h, w]``, mean about 0, in grey levels.
        coarse: the same at a quarter.
    """

    plane: Plane
    coarse: Plane


@dataclass(frozen=True)
class Match:
    """Where the second view lies in the first.

    Attributes:
        offset: x and y in px of the plane.
        agreement: normalised correlation of the overlap, -1..1.
    """

    offset: Offset
    agreement: float


def reduction(width_px: int) -> int:
    """By how much a frame of a width is reduced; a power of two."""
    factor = 1
    while width_px > WIDEST_PX * factor:
        factor *= 2
    return factor


def reduced(image: Image) -> Image:
    """The green of a frame, halved until it is narrow enough, uint8 ``[h, w]``."""
    height, width = image.shape[:2]
    factor = reduction(width)
    whole = image[: height // factor * factor, : width // factor * factor]
    small = _halved(whole) if factor > 1 else whole
    green = np.ascontiguousarray(small[..., 1])
    for _ in range(factor.bit_length() - 2):
        green = _halved(green)
    return green


def _halved(image: Image) -> Image:
    size = image.shape[1] // 2, image.shape[0] // 2
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def view_of(green: Image, still: Image | None) -> View:
    """A view of a reduced frame.

    Args:
        green: uint8 ``[h, w]``.
        still: what every frame shows alike (dirt on the sensor, fall-off of light), as large.
    """
    plane = green.astype(np.float32)
    if still is not None:
        plane *= float(still.mean()) / np.maximum(still, np.float32(16))
    plane -= cv2.blur(plane, (HIGH_PASS_PX, HIGH_PASS_PX))
    return View(plane, coarse_of(plane))


def coarse_of(plane: Plane) -> Plane:
    """A plane at a quarter."""
    size = plane.shape[1] // COARSE, plane.shape[0] // COARSE
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def match(first: Plane, second: Plane, guess: Offset) -> Match | None:
    """Betters a guess of the offset to a tenth of a pixel; None where nothing overlaps.

    The peak is looked for within half of the overlap around the guess. Views out of focus share
    so little but noise that there may be none: then the slopes are followed from the guess.
    """
    peak = _by_peak(first, second, guess)
    if peak is not None and peak.agreement >= DOUBTED:
        return peak
    slope = _between_pixels(first, second, _rounded(guess))
    return max((m for m in (peak, slope) if m), key=lambda m: m.agreement, default=None)


def _by_peak(first: Plane, second: Plane, guess: Offset) -> Match | None:
    offset = _rounded(guess)
    for _ in range(2):
        both = overlap(first, second, offset)
        if both is None:
            return None
        (x, y), _response = cv2.phaseCorrelate(*both, _window(both[0].shape))
        offset = _rounded((offset[0] - x, offset[1] - y))
        if abs(x) <= AGAIN_PX and abs(y) <= AGAIN_PX:
            break
    return _between_pixels(first, second, offset)


def _between_pixels(first: Plane, second: Plane, offset: tuple[int, int]) -> Match | None:
    """The fraction of a pixel, by least squares on the slopes of the picture.

    One step of Lucas & Kanade, *An iterative image registration technique*, IJCAI 1981:674-679,
    again from the next pixel where the fraction is more than half a one. The centroid of the
    correlation peak, which OpenCV gives, is drawn towards whole pixels by up to half of one.
    """
    found = None
    for _ in range(STEPS):
        both = overlap(first, second, offset)
        if both is None:
            return found
        x, y = _fraction(*both)
        found = Match((offset[0] + x, offset[1] + y), agreement(*both))
        if max(abs(x), abs(y)) <= 0.55:
            break
        step_x, step_y = (max(-STEP_PX, min(side, STEP_PX)) for side in (x, y))
        offset = _rounded((offset[0] + step_x, offset[1] + step_y))
    return found


def _fraction(one: Plane, other: Plane) -> Offset:
    """How far ``other`` lies from ``one``, where that is less than a pixel or so."""
    mean = cv2.addWeighted(one, 0.5, other, 0.5, 0.0)
    change = cv2.subtract(other, one)
    x, y = (cv2.Sobel(mean, cv2.CV_32F, *d, scale=0.125) for d in ((1, 0), (0, 1)))
    xx, xy, yy = np.vdot(x, x), np.vdot(x, y), np.vdot(y, y)
    known = xx * yy - xy * xy
    if known <= 0:
        return 0.0, 0.0
    along, down = np.vdot(x, change), np.vdot(y, change)
    return float((along * yy - down * xy) / known), float((down * xx - along * xy) / known)


def match_coarsely(first: Plane, second: Plane) -> Match:
    """The offset without a guess, to a pixel or two, in px of the coarse planes given.

    What lies outside the first plane counts as empty, so little overlap means little agreement.
    """
    height, width = second.shape
    down, across = height * 3 // 4, width * 3 // 4
    field = cv2.copyMakeBorder(first, down, down, across, across, cv2.BORDER_CONSTANT, value=0.0)
    scores = cv2.matchTemplate(field, second, cv2.TM_CCORR_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    return Match((float(x - across), float(y - down)), float(best))


def overlap(first: Plane, second: Plane, offset: Offset) -> tuple[Plane, Plane] | None:
    """What both show at an offset (to a whole pixel); None where that is too little."""
    height, width = first.shape
    x, y = _rounded(offset)
    if min(width - abs(x), height - abs(y)) < LEAST_SIDE_PX:
        return None
    one = first[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    other = second[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    return one, other


def overlap_share(offset: Offset, shape: tuple[int, ...]) -> float:
    """Share of a view that another one at an offset shows too."""
    x, y = (max(0.0, 1 - abs(o) / n) for o, n in zip(offset, shape[::-1], strict=True))
    return x * y


def agreement(one: Plane, other: Plane) -> float:
    """Normalised correlation of two planes of mean 0, towards 0 where they are nearly flat."""
    floor = one.size * FLAT**2
    squares = (np.vdot(one, one) + floor) * (np.vdot(other, other) + floor)
    return float(np.vdot(one, other) / np.sqrt(squares))


def agrees_everywhere(first: Plane, second: Plane, offset: Offset, least: float) -> bool:
    """Whether nearly all parts of the overlap agree, so that no single cell decides."""
    both = overlap(first, second, offset)
    if both is None:
        return False
    agreeing = sum(agreement(*pair) >= least for pair in _parts(*both))
    return agreeing >= PARTS * PARTS - 1


def _parts(one: Plane, other: Plane) -> Iterator[tuple[Plane, Plane]]:
    """The overlap in ``PARTS`` x ``PARTS`` pieces."""
    rows, columns = (np.arange(PARTS + 1) * side // PARTS for side in one.shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield one[top:bottom, left:right], other[top:bottom, left:right]


def _rounded(offset: Offset) -> tuple[int, int]:
    return round(offset[0]), round(offset[1])


def _window(shape: tuple[int, ...]) -> Plane:
    return np.asarray(cv2.createHanningWindow(shape[::-1], cv2.CV_32F), np.float32)
