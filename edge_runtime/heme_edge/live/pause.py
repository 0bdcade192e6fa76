"""Whether counting rests: set by whoever watches, read by the thread that looks for cells."""

from __future__ import annotations

from dataclasses import dataclass

PAUSED = "paused"
"""Why no cells are looked for in a frame meanwhile."""


@dataclass
class Pause:
    """Rests or not; frames are still placed and shown, so that the stage is not lost.

    Attributes:
        on: whether counting rests.
        why: what is said of it; may be empty.
    """

    on: bool = False
    why: str = ""
