"""Which parts of a slide have been looked at, and how often."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from heme_edge.ledger.window import Area

TILE_UM = 16.0


class Looks:
    """Counts looks by tile of 16 µm, in each patch of the map."""

    def __init__(self) -> None:
        self._tiles: dict[int, dict[tuple[int, int], int]] = {}

    def fewer(self, patch: int, area: Area, looks: int) -> NDArray[np.float64]:
        """What of an area was looked at fewer times.

        Returns:
            middles of its tiles, ``[N, 2]``, µm; the corners of an area that holds none.
        """
        there = _tiles(area)
        if not there:
            return np.array(area).reshape(2, 2)
        tiles = self._tiles.get(patch, {})
        few = [tile for tile in there if tiles.get(tile, 0) < looks]
        return (np.array(few, np.float64).reshape(-1, 2) + 0.5) * TILE_UM

    def add(self, patch: int, area: Area) -> None:
        """Takes note of a look at an area."""
        tiles = self._tiles.setdefault(patch, {})
        for tile in _tiles(area):
            tiles[tile] = tiles.get(tile, 0) + 1

    def join(self, patch: int, into: int, dx_um: float, dy_um: float) -> None:
        """Moves what is known of one patch into another."""
        columns, rows = round(dx_um / TILE_UM), round(dy_um / TILE_UM)
        target = self._tiles.setdefault(into, {})
        for (column, row), count in self._tiles.pop(patch, {}).items():
            tile = column + columns, row + rows
            target[tile] = target.get(tile, 0) + count


def _tiles(area: Area) -> list[tuple[int, int]]:
    """Tiles whose middle lies in an area."""
    left, top, right, bottom = (side / TILE_UM - 0.5 for side in area)
    columns = range(ceil(left), floor(right) + 1)
    return [(column, row) for column in columns for row in range(ceil(top), floor(bottom) + 1)]
