"""Where each frame of a source lies: tracked, told by the source, or each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from heme_edge.frames.base import Frame
from heme_edge.ledger import Window
from heme_edge.stage import NEW, TRACKING, Join, Placement, StageTracker


class Placer:
    """Places the frames of one source; belongs to one thread.

    Frames of a microscope are tracked. Those of a whole slide say themselves where they lie. A
    photo of a folder is a patch of its own: nobody says that it shows other cells than the next.

    Args:
        um_per_px: scale of frames of a width in px.
    """

    def __init__(self, um_per_px: Callable[[int], float]) -> None:
        self._um_per_px = um_per_px
        self._tracker: StageTracker | None = None
        self._size = (0, 0)
        self._first_patch = self._last_patch = 0

    def place(self, frame: Frame) -> tuple[Window, tuple[Join, ...]]:
        """The window of the next frame, and patches that were found to be one."""
        height, width = frame.image.shape[:2]
        um_per_px = self._um_per_px(width)
        placement, joins = self._placement(frame, (width, height), um_per_px)
        return Window(placement, width, height, um_per_px), joins

    def _placement(
        self, frame: Frame, size: tuple[int, int], um_per_px: float
    ) -> tuple[Placement, tuple[Join, ...]]:
        if frame.place is not None:
            return Placement(frame.place.x_um, frame.place.y_um, 0, 1.0, TRACKING, 0.0), ()
        if frame.name:
            return Placement(0.0, 0.0, frame.index, 1.0, NEW, 0.0), ()
        if self._tracker is None or size != self._size:  # a camera may come back with another size
            self._first_patch = self._last_patch + 1 if self._tracker else 0
            self._tracker, self._size = StageTracker(um_per_px), size
        placement, joins = self._tracker.place(frame.image, frame.captured_s)
        first = self._first_patch
        placement = replace(placement, patch=placement.patch + first)
        self._last_patch = max(self._last_patch, placement.patch)
        return placement, tuple(
            replace(join, patch=join.patch + first, into=join.into + first) for join in joins
        )
