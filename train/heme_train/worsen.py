"""Crops as a coarser camera or a JPEG file would have them, to measure what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heme_edge.crops import CROP_PX, CROP_UM_PER_PX, Image
from heme_edge.photos import decode_photo


@dataclass(frozen=True)
class Worsening:
    """What happens to each crop before it is named: first the scale, then the JPEG.

    Attributes:
        um_per_px: scale to shrink to (by area) and to enlarge from again (linearly, as the
            runtime does with a coarse camera); None leaves it at 0.25 µm/px.
        jpeg: quality 1 to 100 of a JPEG made of the 96x96 px crop and read again, or None.
    """

    um_per_px: float | None = None
    jpeg: int | None = None

    def __call__(self, image: Image) -> Image:
        """The worsened crop, uint8 RGB ``[96, 96, 3]``."""
        if self.um_per_px is not None:
            image = coarser(image, self.um_per_px)
        return image if self.jpeg is None else jpeg_again(image, self.jpeg)

    def notes(self) -> tuple[str, ...]:
        """What was done, in sentences."""
        notes = []
        if self.um_per_px is not None:
            notes.append(
                f"Every crop was shrunk by area from {CROP_UM_PER_PX} to {self.um_per_px:g} µm/px "
                "and enlarged again by linear interpolation."
            )
        if self.jpeg is not None:
            notes.append(f"Every crop was saved as JPEG of quality {self.jpeg} and read again.")
        return tuple(notes)


AS_IT_IS = Worsening()


def coarser(image: Image, um_per_px: float) -> Image:
    """A crop ``[96, 96, 3]`` seen at ``um_per_px`` and brought back to 0.25 µm/px."""
    import cv2

    side = max(1, round(CROP_PX * CROP_UM_PER_PX / um_per_px))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR), np.uint8
    )


def jpeg_again(image: Image, quality: int) -> Image:
    """A crop as it is after being stored as JPEG (4:2:0, OpenCV's encoder)."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return decode_photo(data.tobytes())
