"""Where the cells of a crowded field lie: apart, touching, and in clumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRIES = 40
PRESSED = (0.84, 1.0)
"""Cells that touch lie this far apart, as a share of the distance at which circles do."""
APART = 1.04
"""Cells that do not touch lie at least so far apart."""
TOUCHING_GAP_UM = 0.5
"""Cells count as touching when the gap between their circles is at most this."""
MARGIN_UM = 5.0
"""Centres may lie so far outside of the field."""


class Crowd:
    """Circles on a field, put down one after another.

    Args:
        width_um, height_um: the field.
        rng: draws the places.
    """

    def __init__(self, width_um: float, height_um: float, rng: np.random.Generator) -> None:
        self._size = np.array([width_um, height_um])
        self._rng = rng
        self._circles = np.zeros((0, 3))
        self._cells = np.zeros(0, np.bool_)

    def place(
        self, radius_um: float, *, touching: bool = False, cell: bool = True
    ) -> tuple[float, float] | None:
        """Room for a circle: its centre in µm, or None where none was found.

        Args:
            radius_um: of the circle.
            touching: whether it shall touch one that is there.
            cell: whether others may be put touching it.
        """
        least = PRESSED[0] if touching else APART
        for _ in range(TRIES):
            spot = self._beside(radius_um) if touching and self._cells.any() else self._anywhere()
            if self._fits(spot, radius_um, least):
                self._circles = np.vstack([self._circles, [*spot, radius_um]])
                self._cells = np.append(self._cells, cell)
                return float(spot[0]), float(spot[1])
        return None

    def _anywhere(self) -> NDArray[np.float64]:
        return self._rng.uniform(-MARGIN_UM, self._size + MARGIN_UM)

    def _beside(self, radius_um: float) -> NDArray[np.float64]:
        x, y, radius = self._circles[self._rng.choice(np.flatnonzero(self._cells))]
        angle = self._rng.uniform(0, 2 * np.pi)
        away = (radius + radius_um) * self._rng.uniform(*PRESSED)
        return np.array([x + away * np.cos(angle), y + away * np.sin(angle)])

    def _fits(self, spot: NDArray[np.float64], radius_um: float, least: float) -> bool:
        if not ((spot > -MARGIN_UM) & (spot < self._size + MARGIN_UM)).all():
            return False
        away = np.hypot(*(self._circles[:, :2] - spot).T)
        return bool((away >= least * (self._circles[:, 2] + radius_um) - 1e-6).all())


def touching(
    x_um: NDArray[np.float64], y_um: NDArray[np.float64], radius_um: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which circles touch another one, ``[N]``."""
    if not len(x_um):
        return np.zeros(0, np.bool_)
    gap = np.hypot(x_um[:, None] - x_um, y_um[:, None] - y_um) - radius_um[:, None] - radius_um
    np.fill_diagonal(gap, np.inf)
    return np.asarray((gap <= TOUCHING_GAP_UM).any(1), np.bool_)
