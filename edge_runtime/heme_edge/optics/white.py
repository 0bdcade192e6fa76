"""The white point: the colour of the empty background, and pictures that cannot tell it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.detect.stain import background
from heme_edge.errors import OpticsError

Rgb = tuple[float, float, float]
LOOK_PX = 400
"""About so many pixels of the longer side are looked at."""
BLACK = 30
"""The background of a lit picture is brighter than this, of 255, in green."""
CLIPPED, CLIPPED_SHARE = 253, 0.9


def white_of(image: Image) -> Rgb:
    """RGB of one picture's empty background, within its field of view.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
    """
    step = max(1, max(image.shape[:2]) // LOOK_PX)
    small = np.ascontiguousarray(image[::step, ::step])
    red, green, blue = background(small, field_of_view(small)).tolist()
    return red, green, blue


def white_point(images: Sequence[Image]) -> Rgb:
    """The median of the pictures' backgrounds, channel by channel."""
    red, green, blue = np.median([white_of(image) for image in images], axis=0).tolist()
    return red, green, blue


def is_black(image: Image) -> bool:
    """Whether there is no light in a picture."""
    return bool(np.percentile(image[::4, ::4, 1], 99) < BLACK)


def is_overexposed(image: Image, share: float = CLIPPED_SHARE) -> bool:
    """Whether more than ``share`` of the pixels are white and nothing can be told of them."""
    return bool((image[::4, ::4].min(axis=2) >= CLIPPED).mean() > share)


def check_light(images: Sequence[Image]) -> list[Image]:
    """The pictures that are neither black nor overexposed.

    Raises:
        OpticsError: there are none.
    """
    lit = [image for image in images if not is_black(image)]
    if not lit:
        raise OpticsError("The pictures are black.", "Switch the lamp on and open the diaphragm")
    good = [image for image in lit if not is_overexposed(image)]
    if not good:
        raise OpticsError(
            "The pictures are overexposed: they are white all over.",
            "Shorten the exposure or dim the lamp until the background is just below white",
        )
    return good
