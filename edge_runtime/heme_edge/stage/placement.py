"""What is known of a frame's place on the slide."""

from __future__ import annotations

from dataclasses import dataclass

TRACKING, LOST, FOUND, NEW = "tracking", "lost", "found", "new"


@dataclass(frozen=True)
class Placement:
    """Where a frame lies on the slide.

    Attributes:
        x_um, y_um: position of the centre of the frame's first (top left) pixel, µm, along the
            camera's axes; each patch has its own origin.
        patch: which patch of the map; 0 is the first, a jump starts another.
        quality: of the match, 0..1.
        state: ``tracking``; ``lost`` (not placed: the place is the last known one); ``found``
            (re-found by an older keyframe); ``new`` (the first frame of a patch).
        moving_um: distance from the frame before; 0 where that is not known.
    """

    x_um: float
    y_um: float
    patch: int
    quality: float
    state: str
    moving_um: float


@dataclass(frozen=True)
class Join:
    """A patch was found to be part of another one.

    Add (``dx_um``, ``dy_um``) to positions in ``patch`` to have them in ``into``. Later
    placements are never again in ``patch``.
    """

    patch: int
    into: int
    dx_um: float
    dy_um: float
