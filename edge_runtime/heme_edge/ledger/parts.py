"""Which part of a frame to search, from the places that are to be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heme_edge.ledger.window import Area

MARGIN_UM = 36.0
"""What is looked for lies so far from the border of a part: a cell is found worse near a border."""
LEAST_UM = 84.0
"""No part is narrower: the light of bare glass must be seen in it."""
MOST_OF_FRAME = 0.5
AT_ONCE_UM2 = 40_000.0
"""A part that is larger than both is not searched at once."""

Points = NDArray[np.float64]


def part_around(places: Points, frame: Area) -> tuple[Area, Area]:
    """The part of a frame with places ``[N, 2]``, µm, and a margin.

    Where that is most of a large frame: the part with those in one half of it, or along one of its
    borders, a third of the frame, if at least half of them lie there; whichever shows more of them
    for its size.

    Returns:
        the part, and what of it holds the places that it is meant for.
    """
    area = _with_margin(places, frame)
    if _size(area) <= max(MOST_OF_FRAME * _size(frame), AT_ONCE_UM2):
        return area, area
    choices = [
        (_with_margin(there, frame), within, len(there))
        for within in (*_halves(frame), *_thirds(frame))
        if 2 * len(there := places[inside(places, within)]) >= len(places)
    ]
    part, within, _ = max(choices, key=lambda choice: choice[2] / _size(choice[0]))
    return part, within


def inside(places: Points, area: Area) -> NDArray[np.bool_]:
    """Which of places ``[N, 2]`` lie in an area."""
    return np.asarray(((places >= area[:2]) & (places <= area[2:])).all(1), np.bool_)


def _halves(frame: Area) -> list[Area]:
    """The halves of a frame, across its longer side."""
    left, top, right, bottom = frame
    x, y = (left + right) / 2, (top + bottom) / 2
    if right - left >= bottom - top:
        return [(left, top, x, bottom), (x, top, right, bottom)]
    return [(left, top, right, y), (left, y, right, bottom)]


def _thirds(frame: Area) -> list[Area]:
    """The left, the upper, the right and the lower third of a frame."""
    left, top, right, bottom = frame
    x, y = (right - left) / 3, (bottom - top) / 3
    return [
        (left, top, left + x, bottom),
        (left, top, right, top + y),
        (right - x, top, right, bottom),
        (left, bottom - y, right, bottom),
    ]


def _with_margin(places: Points, frame: Area) -> Area:
    """The rectangle around places, with a margin, within a frame."""
    low, high = np.array(frame[:2]), np.array(frame[2:])
    first, last = places.min(0) - MARGIN_UM, places.max(0) + MARGIN_UM
    short = np.maximum(0.0, LEAST_UM - (last - first)) / 2
    left, top = map(float, np.maximum(first - short, low))
    right, bottom = map(float, np.minimum(last + short, high))
    return left, top, right, bottom


def _size(area: Area) -> float:
    return (area[2] - area[0]) * (area[3] - area[1])
