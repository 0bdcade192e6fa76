"""Whether counting rests: set by whoever watches, read by the thread that looks for cells."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from heme_edge.live.camera import Camera
from heme_edge.live.slots import Placed, Slots

PAUSED = "paused"
"""Why no cells are looked for in a frame meanwhile."""
LOOK_S = 0.05


@dataclass
class Pause:
    """Rests or not.

    Attributes:
        on: whether counting rests.
        why: what is said of it; may be empty.
    """

    on: bool = False
    why: str = ""

    def passed(self, camera: Camera, placed: Placed, slots: Slots) -> Placed:
        """What is analysed of a frame.

        While counting rests a camera goes on: its frames are placed and shown, so that the stage
        is not lost, and not searched. A file waits, until counting goes on or the slots are closed.
        """
        while self.on and not camera.source.live and not slots.closed:
            time.sleep(LOOK_S)
        return replace(placed, not_used=placed.not_used or PAUSED) if self.on else placed
