"""Correcting frames with an optics profile: one multiplication, prepared once for each size."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from heme_edge.crops import Image
from heme_edge.optics.profile import Gains, OpticsProfile

MOST_FACTOR = 16.0


class Corrector:
    """Makes the background of frames even and of one colour, and the surround black.

    The last size is kept; one instance belongs to one thread.

    Args:
        profile: of the camera the frames are from.
        white_rgb: what the background becomes, 0..255; None leaves its colour alone.
    """

    def __init__(self, profile: OpticsProfile, white_rgb: Sequence[float] | None = None) -> None:
        self.profile = profile
        target = np.asarray(profile.white_rgb if white_rgb is None else white_rgb, np.float32)
        self._factors = target / np.asarray(profile.white_rgb, np.float32)
        self._shape: tuple[int, ...] = ()
        self._map: Gains = np.ones((0, 0, 3), np.float32)

    def correct(self, image: Image) -> Image:
        """The corrected copy of a frame.

        Args:
            image: RGB uint8 ``[H, W, 3]``, as the sensor recorded it, of the profile's shape in
                any number of pixels.

        Raises:
            OpticsError: the frame's sides are in another proportion than the profile's.
        """
        if image.shape != self._shape:
            self.profile.check_frame(image.shape)
            self._map, self._shape = self._prepared(image.shape), image.shape
        return np.asarray(cv2.multiply(image, self._map, dtype=cv2.CV_8U), np.uint8)

    def _prepared(self, shape: tuple[int, ...]) -> Gains:
        """The factor of every pixel, 0 outside of a round field."""
        height, width = shape[:2]
        size = (width, height)
        even = _enlarged(self.profile.flat_field, size)
        factors = np.minimum(even * self._factors, MOST_FACTOR)
        field = self.profile.round_field
        if field is not None:
            inside = np.zeros((height, width), np.uint8)
            centre = round(field.x * width), round(field.y * height)
            cv2.circle(inside, centre, round(field.radius * width), 1, -1)
            factors *= inside[..., None]
        return np.ascontiguousarray(factors, np.float32)


def _enlarged(grid: Gains, size: tuple[int, int]) -> Gains:
    """Grid values at every pixel: linear between the middles of blocks and on beyond the last."""
    for axis, count in ((0, size[1]), (1, size[0])):
        cells = grid.shape[axis]
        at = (np.arange(count, dtype=np.float32) + 0.5) * cells / count - 0.5
        low = np.clip(np.floor(at), 0, cells - 2).astype(np.intp)
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        share = (at - low).reshape(shape)
        grid = np.take(grid, low, axis) * (1 - share) + np.take(grid, low + 1, axis) * share
    return np.asarray(grid, np.float32)
