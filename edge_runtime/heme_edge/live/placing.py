"""Where each frame of a source lies, and whether cells can be looked for in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from heme_edge.frames.base import Frame
from heme_edge.gates import Gates
from heme_edge.ledger import Window
from heme_edge.live.slots import Placed
from heme_edge.stage import NEW, TRACKING, Placement, StageTracker


class Placer:
    """Places and judges the frames of one source; belongs to one thread.

    Frames of a microscope are tracked, and pass the gates or do not. Those of a whole slide say
    themselves where they lie. A photo of a folder is a patch of its own: nobody says that it shows
    other cells than the next.

    Args:
        um_per_px: scale of frames of a width in px.
    """

    def __init__(self, um_per_px: Callable[[int], float]) -> None:
        self._um_per_px = um_per_px
        self._tracker: StageTracker | None = None
        self._size = (0, 0)
        self._first_patch = self._last_patch = 0

    def place(self, frame: Frame) -> Placed:
        """The next frame in its place."""
        height, width = frame.image.shape[:2]
        um_per_px = self._um_per_px(width)
        if frame.place is not None:
            there = Placement(frame.place.x_um, frame.place.y_um, 0, 1.0, TRACKING, 0.0)
            return Placed(frame, Window(there, width, height, um_per_px))
        if frame.name:
            there = Placement(0.0, 0.0, frame.index, 1.0, NEW, 0.0)
            return Placed(frame, Window(there, width, height, um_per_px))
        return self._tracked(frame, (width, height), um_per_px)

    def _tracked(self, frame: Frame, size: tuple[int, int], um_per_px: float) -> Placed:
        tracker = self._begin(size, um_per_px)
        look = self._gates.look(frame.image)
        placement, joins = tracker.place(frame.image, frame.captured_s, look.sharp)
        first = self._first_patch
        not_used = self._gates.reason(look, placement)
        placement = replace(placement, patch=placement.patch + first)
        self._last_patch = max(self._last_patch, placement.patch)
        moved = tuple(replace(j, patch=j.patch + first, into=j.into + first) for j in joins)
        return Placed(frame, Window(placement, *size, um_per_px), moved, not_used, look.focus)

    def _begin(self, size: tuple[int, int], um_per_px: float) -> StageTracker:
        """The tracker; a new one, on a map of its own, where a camera came back another size."""
        if self._tracker is None or size != self._size:
            self._first_patch = self._last_patch + 1 if self._tracker else 0
            self._tracker, self._size = StageTracker(um_per_px), size
            self._gates = Gates(um_per_px)
        return self._tracker
