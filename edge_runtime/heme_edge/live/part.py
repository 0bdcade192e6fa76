"""The part of a frame that is searched: where something is new, or not settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heme_edge.crops import Image
from heme_edge.frames.base import Frame
from heme_edge.ledger.window import Area, Window
from heme_edge.results import DetectedCell

GLASS_STEP, GLASS_PERCENTILE = 8, 97.0
NEAR_UM = 12.0
"""Of what lies nearer to a border that is none of the frame the part tells nothing."""


@dataclass(frozen=True)
class Part:
    """A part of a frame, as if it were a frame itself.

    Attributes:
        image: RGB uint8 ``[H, W, 3]``.
        window: its place on the slide.
        frame: number of the frame.
        corner_px: x and y of its first pixel in the frame.
        frame_px: width and height of the frame.
        glass: green of bare glass in the frame; None for a whole frame, which tells it itself.
    """

    image: Image
    window: Window
    frame: int
    corner_px: tuple[int, int]
    frame_px: tuple[int, int]
    glass: float | None

    @classmethod
    def of(cls, frame: Frame, placed: Window, area: Area) -> Part:
        """What of a frame, which lies where ``placed`` says, shows an area, µm of the slide."""
        whole = frame.image
        window, (rows, columns) = placed.part(area)
        size = whole.shape[1], whole.shape[0]
        glass = None
        if (window.width_px, window.height_px) != size:
            green = whole[::GLASS_STEP, ::GLASS_STEP, 1]
            glass = float(np.percentile(green, GLASS_PERCENTILE))
        image = np.ascontiguousarray(whole[rows, columns])
        return cls(image, window, frame.index, (columns.start, rows.start), size, glass)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole frame."""
        return self.glass is None

    def in_frame(self, cell: DetectedCell) -> DetectedCell:
        """A cell of the part, in px of the frame."""
        x, y = self.corner_px
        return replace(cell, x_px=cell.x_px + x, y_px=cell.y_px + y)

    def tells_of(self, cell: DetectedCell) -> bool:
        """Whether a cell is not cut by a border that is none of the frame."""
        near = NEAR_UM / self.window.um_per_px
        sides = zip(
            (cell.x_px, cell.y_px),
            self.corner_px,
            (self.window.width_px, self.window.height_px),
            self.frame_px,
            strict=True,
        )
        return all(
            (place >= near or not corner) and (place <= side - 1 - near or corner + side >= whole)
            for place, corner, side, whole in sides
        )
