"""Why a cell cannot be named in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.field_score import READABLE, FieldScore
from heme_edge.tally import EDGE, UNREADABLE_FIELD

STEP = 4
TURNS = np.linspace(0, 2 * np.pi, 16, endpoint=False)


@dataclass(frozen=True)
class Nameable:
    """What of a picture can be named: its parts in focus, the whole cells.

    Attributes:
        score: of the picture; None where all that is asked for is known to lie in focus.
        seen: bool ``[H, W]``, the field of view, of every ``STEP``-th pixel; None for all of it.
        size_px: width and height of the picture.
        margin_px: a centre keeps so far from the border of the picture, or its radius where that
            is larger.
    """

    score: FieldScore | None
    seen: NDArray[np.bool_] | None
    size_px: tuple[int, int]
    margin_px: float

    @classmethod
    def of(cls, image: Image, score: FieldScore | None, margin_px: float = 0.0) -> Nameable:
        """For a picture RGB uint8 ``[H, W, 3]``."""
        seen = field_of_view(image[::STEP, ::STEP])
        size_px = image.shape[1], image.shape[0]
        return cls(score, None if seen.all() else seen, size_px, margin_px)

    def problem(self, x_px: float, y_px: float, radius_px: float) -> str:
        """``edge``, ``unreadable-field``, or empty for a cell that can be named."""
        if self.score is not None and self.score.at(x_px, y_px) != READABLE:
            return UNREADABLE_FIELD
        width, height = self.size_px
        margin = max(radius_px, self.margin_px) - 0.5
        near = min(x_px, y_px, width - 1 - x_px, height - 1 - y_px) < margin
        return EDGE if near or self._cut(x_px, y_px, radius_px) else ""

    def _cut(self, x_px: float, y_px: float, radius_px: float) -> bool:
        """Whether the border of a round field of view cuts a circle."""
        if self.seen is None:
            return False
        height, width = self.seen.shape
        xs = np.clip(np.rint((x_px + radius_px * np.cos(TURNS)) / STEP), 0, width - 1).astype(int)
        ys = np.clip(np.rint((y_px + radius_px * np.sin(TURNS)) / STEP), 0, height - 1).astype(int)
        return not bool(self.seen[ys, xs].all())
