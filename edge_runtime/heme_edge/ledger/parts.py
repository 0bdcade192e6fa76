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
"""A larger part is not worth cutting out."""

Points = NDArray[np.float64]


def part_around(places: Points, frame: Area) -> Area:
    """The part of a frame with places ``[N, 2]``, µm, and a margin.

    Where that is most of the frame: the part with those along one of its borders, a third of the
    frame, if at least half of them lie there; else the whole frame.
    """
    area = _with_margin(places, frame)
    if _size(area) <= MOST_OF_FRAME * _size(frame):
        return area
    along = max(_thirds(places, frame), key=len)
    return _with_margin(along, frame) if 2 * len(along) >= len(places) else frame


def inside(places: Points, area: Area) -> NDArray[np.bool_]:
    """Which of places ``[N, 2]`` lie in an area."""
    return np.asarray(((places >= area[:2]) & (places <= area[2:])).all(1), np.bool_)


def _thirds(places: Points, frame: Area) -> list[Points]:
    """Places in the left, the upper, the right and the lower third of a frame."""
    low, high = np.array(frame[:2]), np.array(frame[2:])
    first = places < low + (high - low) / 3
    last = places > high - (high - low) / 3
    return [places[sides[:, axis]] for sides in (first, last) for axis in (0, 1)]


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
