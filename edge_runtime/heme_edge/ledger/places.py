"""Circles on a slide by where they lie, so that a look at one place costs what lies there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

BOX_UM = 48.0
"""Side of a box; no cell has a larger radius."""


class Circle(Protocol):
    """What lies somewhere on a slide, µm."""

    x_um: float
    y_um: float
    radius_um: float


C = TypeVar("C", bound=Circle)


class Places(Generic[C]):
    """Circles of one slide, or of one patch of it."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[int, int], list[C]] = {}

    def __iter__(self) -> Iterator[C]:
        """All circles, in no order."""
        return (one for box in self._boxes.values() for one in box)

    def add(self, one: C) -> None:
        """Enters a circle."""
        self._boxes.setdefault(_box(one.x_um, one.y_um), []).append(one)

    def remove(self, one: C) -> None:
        """Takes out a circle that lies where it was entered or last moved to.

        Raises:
            KeyError: it is not there.
        """
        at = _box(one.x_um, one.y_um)
        left = [other for other in self._boxes[at] if other is not one]
        if len(left) == len(self._boxes[at]):
            raise KeyError(at)
        if left:
            self._boxes[at] = left
        else:
            del self._boxes[at]

    def move(self, one: C, x_um: float, y_um: float) -> None:
        """Gives a circle another centre."""
        self.remove(one)
        one.x_um, one.y_um = x_um, y_um
        self.add(one)

    def within(self, left: float, top: float, right: float, bottom: float) -> list[C]:
        """Circles whose centre lies in a rectangle, µm."""
        inside = []
        for box in self._touched(left, top, right, bottom):
            inside += [o for o in box if left <= o.x_um <= right and top <= o.y_um <= bottom]
        return inside

    def covering(self, x_um: float, y_um: float, radius_um: float) -> list[C]:
        """Circles of which one centre lies inside the other circle: parts of one object."""
        near = self._around(x_um, y_um)
        return [one for one, apart in near if apart < max(one.radius_um, radius_um)]

    def holds(self, x_um: float, y_um: float, radius_um: float) -> bool:
        """Whether each centre of this circle and one of them lies inside the other: one object.

        Of a small cell beside a megakaryocyte only one does.
        """
        near = self._around(x_um, y_um)
        return any(apart < min(one.radius_um, radius_um) for one, apart in near)

    def around(self, x_um: float, y_um: float) -> list[C]:
        """Circles that may reach a place."""
        return self.within(x_um - BOX_UM, y_um - BOX_UM, x_um + BOX_UM, y_um + BOX_UM)

    def _around(self, x_um: float, y_um: float) -> list[tuple[C, float]]:
        """Circles that may reach a place, and how far off their centres lie."""
        near = self.around(x_um, y_um)
        return [(one, math.hypot(one.x_um - x_um, one.y_um - y_um)) for one in near]

    def _touched(self, left: float, top: float, right: float, bottom: float) -> Iterable[list[C]]:
        (first, high), (last, low) = _box(left, top), _box(right, bottom)
        for column in range(first, last + 1):
            for row in range(high, low + 1):
                if box := self._boxes.get((column, row)):
                    yield box


def _box(x_um: float, y_um: float) -> tuple[int, int]:
    return int(x_um // BOX_UM), int(y_um // BOX_UM)
