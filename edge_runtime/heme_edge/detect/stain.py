"""How much nuclear stain a pixel holds, whatever the lamp and the white balance.

Azure and methylene blue in nuclei absorb red and green and let blue through; haemoglobin and
eosin in red cells absorb green and blue. The index is therefore red + green - 2 x blue in
optical density (Beer-Lambert: -log10 of light over the light of the empty background).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.detect.field_of_view import Mask

Plane = NDArray[np.float32]

WHITE_FROM, WHITE_TO = 92.0, 99.0
"""The background is the median of the pixels between these percentiles of green."""
BLUE_WEIGHT = 2.0
TISSUE_DENSITY = 0.06
"""Least red + green density of anything that lies on the glass."""
RED_CELL_RATIO = 0.5
"""Blue over red density: nuclei are below this, red cells above."""


@dataclass(frozen=True)
class Stain:
    """Optical densities of one field at the working scale.

    Attributes:
        nuclear: nuclear stain index, ``[H, W]``.
        tissue: red + green density, ``[H, W]``.
        red_cell: where the colour is that of a red cell.
        white: the background's RGB.
    """

    nuclear: Plane
    tissue: Plane
    red_cell: Mask
    white: tuple[float, float, float]


def background(image: Image, field: Mask, step: int = 2) -> NDArray[np.float64]:
    """RGB of the empty background: the median of the brightest tenth in green.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        field: the pixels to look at; at least one must be True.
        step: of the rows and columns that are looked at.
    """
    looked, pixels = field[::step, ::step], image[::step, ::step].reshape(-1, 3)
    if not looked.all():
        pixels = pixels[looked.ravel()] if looked.any() else image[field]
    low, high = np.percentile(pixels[:, 1], [WHITE_FROM, WHITE_TO])
    chosen = pixels[(pixels[:, 1] >= low) & (pixels[:, 1] <= high)]
    return np.asarray(np.maximum(np.median(chosen, axis=0), 8.0), np.float64)


def stain(image: Image, field: Mask) -> Stain:
    """Densities of a field at the working scale, smoothed by less than a µm.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        field: the field of view; densities outside are 0.
    """
    white = background(image, field)
    red, green, blue = (_density(image[..., c], white[c], field) for c in range(3))
    tissue = red + green
    red_cell = (tissue > TISSUE_DENSITY) & (blue > RED_CELL_RATIO * red)
    return Stain(tissue - BLUE_WEIGHT * blue, tissue, red_cell, tuple(white.tolist()))


def _density(channel: Image, white: float, field: Mask) -> Plane:
    table = -np.log10(np.maximum(np.arange(256), 4.0) / white)
    density = cv2.LUT(np.ascontiguousarray(channel), table.astype(np.float32))
    density[~field] = 0.0
    return np.asarray(cv2.GaussianBlur(density, (0, 0), 0.8), np.float32)
