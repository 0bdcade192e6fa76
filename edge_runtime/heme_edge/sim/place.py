"""Where cells lie on the slide: some clustered, some touching, none on top of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRIES = 60
CLUSTERED = 0.3
"""Share of cells put right beside another one."""
RED_OVERLAP = 0.8
"""Red cells may overlap down to this share of the distance at which they touch."""
HILL_UM = 70.0
"""Spread of a cell-rich patch of the smear."""
Spot = tuple[int, int]


class _Taken:
    """Circles on the slide in a coarse grid, for quick "is there room" questions."""

    def __init__(self, width_um: float, height_um: float, box_um: float) -> None:
        self._box_um = box_um
        self._boxes: dict[tuple[int, int], list[tuple[float, float, float]]] = {}

    def add(self, x: float, y: float, radius: float) -> None:
        key = int(x // self._box_um), int(y // self._box_um)
        self._boxes.setdefault(key, []).append((x, y, radius))

    def free(self, x: float, y: float, radius: float, share: float) -> bool:
        """Whether every circle is at least ``share`` of the touching distance away."""
        column, row = int(x // self._box_um), int(y // self._box_um)
        for i in (column - 1, column, column + 1):
            for j in (row - 1, row, row + 1):
                for other_x, other_y, other_radius in self._boxes.get((i, j), ()):
                    least = share * (radius + other_radius)
                    if (x - other_x) ** 2 + (y - other_y) ** 2 < least * least:
                        return False
        return True


class Placer:
    """Finds room for one cell after another.

    Args:
        width_um, height_um: size of the slide.
        um_per_px: scale; cells are centred on whole pixels.
        rng: draws the places.
    """

    def __init__(
        self, width_um: float, height_um: float, um_per_px: float, rng: np.random.Generator
    ) -> None:
        self._size = np.array([width_um, height_um])
        self._um_per_px = um_per_px
        self._rng = rng
        self._cells = _Taken(width_um, height_um, 22.0)
        self._reds = _Taken(width_um, height_um, 10.0)
        self._circles: list[tuple[float, float, float]] = []
        self._hills = rng.uniform(0, 1, (24, 2)) * self._size

    def find(self, radius_um: float) -> Spot | None:
        """Room for a nucleated cell or platelet; its centre in px, or None where there is none."""
        for _ in range(TRIES):
            spot = self._near_another(radius_um) if self._clusters() else self._anywhere()
            x, y = self._snap(spot)
            inside = min(x, y, self._size[0] - x, self._size[1] - y) > radius_um + 1
            if inside and self._cells.free(x, y, radius_um, 1.0):
                self._cells.add(x, y, radius_um)
                self._circles.append((x, y, radius_um))
                return round(x / self._um_per_px), round(y / self._um_per_px)
        return None

    def find_red(self, radius_um: float) -> Spot | None:
        """Room for a red cell; it may lie over the slide's edge and partly on other red cells."""
        for _ in range(TRIES // 4):
            x, y = self._snap(self._rng.uniform(0, 1, 2) * self._size)
            room = self._cells.free(x, y, radius_um, 0.98)
            if room and self._reds.free(x, y, radius_um, RED_OVERLAP):
                self._reds.add(x, y, radius_um)
                return round(x / self._um_per_px), round(y / self._um_per_px)
        return None

    def _clusters(self) -> bool:
        return bool(self._circles) and self._rng.random() < CLUSTERED

    def _anywhere(self) -> NDArray[np.float64]:
        """Anywhere, but more often where the smear is rich in cells."""
        if self._rng.random() < 0.5:
            return np.asarray(self._rng.uniform(0, 1, 2) * self._size)
        hill = self._hills[self._rng.integers(len(self._hills))]
        return np.asarray(hill + self._rng.normal(0, HILL_UM, 2))

    def _near_another(self, radius_um: float) -> NDArray[np.float64]:
        x, y, radius = self._circles[self._rng.integers(len(self._circles))]
        angle = self._rng.uniform(0, 2 * np.pi)
        away = (radius + radius_um) * self._rng.uniform(1.0, 1.12) + self._um_per_px
        return np.array([x + away * np.cos(angle), y + away * np.sin(angle)])

    def _snap(self, spot: NDArray[np.float64]) -> tuple[float, float]:
        x, y = np.round(spot / self._um_per_px) * self._um_per_px
        return float(x), float(y)
