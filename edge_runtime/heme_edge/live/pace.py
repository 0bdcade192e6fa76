"""How many cells of a frame are named: as many as there is time for, by what the last ones took."""

from __future__ import annotations

from dataclasses import dataclass

FRAME_S = 0.045
"""Searching and naming of a live frame take about so long, where that is enough for ``LEAST``."""
LEAST, MOST = 4, 16
"""Cells of one frame. Fewer would save little: they are named side by side."""
NEWEST = 0.1
"""Weight of the newest measurement."""


@dataclass
class Pace:
    """Of one camera: what is not named of a frame has its turn in the next.

    On a machine that is fast, or where little was to be searched, more cells are named of a frame;
    on one that is slow, fewer, so that what is shown is not late.
    """

    _cell_s: float = 0.0

    def cells(self, spent_s: float) -> int:
        """How many may be named of a frame on which so many seconds were spent already."""
        if not self._cell_s:
            return LEAST
        return min(max(int((FRAME_S - spent_s) / self._cell_s), LEAST), MOST)

    def named(self, cells: int, seconds: float) -> None:
        """So many took so long; of few a single one takes longer, and tells nothing."""
        if cells >= LEAST:
            weight = NEWEST if self._cell_s else 1.0
            self._cell_s += weight * (seconds / cells - self._cell_s)
