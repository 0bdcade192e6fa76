"""Taking a handful of pictures of different places from a camera, video or folder."""

from __future__ import annotations

import time

from heme_edge.crops import Image
from heme_edge.errors import OpticsError
from heme_edge.frames.base import FrameSource

EVERY_S = 0.5
"""A live source is looked at this often: the stage must have moved in between."""


def watch(source: FrameSource, count: int) -> list[Image]:
    """Pictures of a source, at most ``count``: half a second apart, or from all over a file.

    Raises:
        OpticsError: the source sent no picture.
        SourceError: the source was lost.
    """
    images = _live(source, count) if source.live else _spread(source, count)
    if not images:
        raise OpticsError(f"{source.name} sent no picture.")
    return images


def _live(source: FrameSource, count: int) -> list[Image]:
    images: list[Image] = []
    next_s = time.monotonic()
    while len(images) < count and (frame := source.read()) is not None:
        if frame.captured_s >= next_s:
            images.append(frame.image)
            next_s = frame.captured_s + EVERY_S
    return images


def _spread(source: FrameSource, count: int) -> list[Image]:
    """Evenly over the file: whenever there are twice too many, every second one is let go."""
    images: list[Image] = []
    number, step = 0, 1
    while (frame := source.read()) is not None:
        if number % step == 0:
            images.append(frame.image)
        number += 1
        if len(images) >= 2 * count:
            images, step = images[::2], 2 * step
    return images[:: max(1, -(-len(images) // count))]
