"""Crop geometry: 96x96 px RGB at 0.25 µm/px (24 µm square), the whole cell in the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heme_edge.results import DetectedCell

CROP_PX = 96
CROP_UM_PER_PX = 0.25
CROP_UM = CROP_PX * CROP_UM_PER_PX
ASSUMED_UM_PER_PX = 0.25
AREA_ABOVE = 1.5
"""Shrink factors above this are done by area averaging first: one bilinear warp would alias."""

Image = NDArray[np.uint8]


class CropSampler:
    """Cuts crops from one image at the image's own scale.

    The image is shrunk by area once (not once per crop) where the crop needs more than
    1.5x reduction; each crop is then one bilinear warp. Pixels outside the image repeat
    its border mirrored.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        um_per_px: scale of ``image`` in µm per pixel.
    """

    def __init__(self, image: Image, um_per_px: float) -> None:
        import cv2

        shrink = CROP_UM_PER_PX / um_per_px
        self._scale_x = self._scale_y = 1.0
        if shrink > AREA_ABOVE:
            height, width = image.shape[:2]
            size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            self._scale_x, self._scale_y = size[0] / width, size[1] / height
        self._image = image
        self._um_per_px = um_per_px

    def cut(self, x_px: float, y_px: float) -> Image:
        """One crop ``[96, 96, 3]`` uint8 centred on (x_px, y_px) of the original image.

        Pixel centres are at integer coordinates, as OpenCV has them.
        """
        import cv2

        step_x = CROP_UM_PER_PX / self._um_per_px * self._scale_x
        step_y = CROP_UM_PER_PX / self._um_per_px * self._scale_y
        centre_x = (x_px + 0.5) * self._scale_x - 0.5
        centre_y = (y_px + 0.5) * self._scale_y - 0.5
        middle = (CROP_PX - 1) / 2
        inverse = np.array(
            [
                [step_x, 0.0, centre_x - step_x * middle],
                [0.0, step_y, centre_y - step_y * middle],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(
            self._image,
            inverse,
            (CROP_PX, CROP_PX),
            flags=flags,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(crop, np.uint8)


def cut_crops(image: Image, cells: Sequence[DetectedCell], um_per_px: float) -> Image:
    """Crops of the given cells.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        cells: centres in px of ``image``.
        um_per_px: scale of ``image``.

    Returns:
        uint8 ``[N, 96, 96, 3]`` RGB at 0.25 µm/px; N may be 0.
    """
    if not cells:
        return np.zeros((0, CROP_PX, CROP_PX, 3), np.uint8)
    sampler = CropSampler(image, um_per_px)
    return np.stack([sampler.cut(cell.x_px, cell.y_px) for cell in cells])


def centre_crop(image: Image, um_per_px: float) -> Image:
    """The middle 24 µm of a single-cell image, as one crop ``[96, 96, 3]``."""
    height, width = image.shape[:2]
    top, left = (height - CROP_PX) // 2, (width - CROP_PX) // 2
    if um_per_px == CROP_UM_PER_PX and min(top, left) >= 0 and not (height | width) & 1:
        return image[top : top + CROP_PX, left : left + CROP_PX]  # no pixel is resampled
    return CropSampler(image, um_per_px).cut((width - 1) / 2, (height - 1) / 2)
