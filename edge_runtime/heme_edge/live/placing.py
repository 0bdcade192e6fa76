"""Where each frame of a source lies, and whether cells can be looked for in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heme_edge.frames.base import Frame
from heme_edge.gates import Gates
from heme_edge.ledger import Window
from heme_edge.live.slots import Placed
from heme_edge.stage import NEW, TRACKING, Keyframe, Placement, StageTracker


@dataclass(frozen=True)
class EarlierMap:
    """The map of a stage as an earlier session left it.

    Attributes:
        keyframes: of it.
        patches: number of the next new patch.
    """

    keyframes: tuple[Keyframe, ...] = ()
    patches: int = 0


NO_MAP = EarlierMap()


class Placer:
    """Places and judges the frames of one source; belongs to one thread.

    Frames of a microscope are tracked, and pass the gates or do not. Those of a whole slide say
    themselves where they lie. A photo of a folder is a patch of its own: nobody says that it shows
    other cells than the next.

    Args:
        um_per_px: scale of frames of a width in px.
        earlier: the map of a session that is gone on with.
    """

    def __init__(self, um_per_px: Callable[[int], float], earlier: EarlierMap = NO_MAP) -> None:
        self._um_per_px, self._earlier = um_per_px, earlier
        self._tracker: StageTracker | None = None
        self._size = (0, 0)

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
        not_used = self._gates.reason(look, placement)
        window = Window(placement, *size, um_per_px)
        return Placed(frame, window, joins, not_used, look.focus, tracker.keyframes)

    def _begin(self, size: tuple[int, int], um_per_px: float) -> StageTracker:
        """The tracker; a new one, on a map of its own, where a camera came back another size."""
        if self._tracker is None or size != self._size:
            first, known = self._earlier.patches, self._earlier.keyframes
            if self._tracker is not None:
                first, known = self._tracker.patches, ()
            self._tracker, self._size = StageTracker(um_per_px, first, known), size
            self._gates = Gates(um_per_px)
        return self._tracker
