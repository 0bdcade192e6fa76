"""Reference crops: simulated cells, so that a bundle carries no image of anybody."""

from __future__ import annotations

from heme_edge.crops import Image


def simulated_crops(seed: int, count: int = 48) -> Image:
    """uint8 ``[count, 96, 96, 3]`` crops of drawn cells."""
    raise NotImplementedError
