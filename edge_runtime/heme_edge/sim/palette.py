"""Wright-Giemsa colours as optical densities.

Stains absorb by Beer-Lambert: what comes through is ``background * 10 ** -density``, and the
densities of what lies in one place add up. A vector below is the density (decadic, per R, G, B)
of one unit of that matter, chosen by eye and by the median colours of public single-cell images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image

Field = NDArray[np.float32]
"""A plane of a drawing, float32: ``[H, W]``, or ``[H, W, 3]`` for densities of R, G, B."""

BACKGROUND = (247, 232, 214)
"""RGB of the empty slide under a halogen lamp."""


def _vector(red: float, green: float, blue: float) -> Field:
    return np.array([red, green, blue], np.float32)


CHROMATIN = _vector(0.49, 0.82, 0.175)
BASOPHILIA = _vector(0.29, 0.275, 0.085)
"""RNA-rich cytoplasm (blasts, plasma cells, early normoblasts): blue."""
NEUTROPHIL_PINK = _vector(0.11, 0.18, 0.09)
AZURE_GRANULE = _vector(0.32, 0.55, 0.14)
SPECIFIC_GRANULE = _vector(0.13, 0.28, 0.10)
EOSIN_GRANULE = _vector(0.13, 0.36, 0.20)
BASOPHIL_GRANULE = _vector(0.50, 0.78, 0.19)
HAEMOGLOBIN = _vector(0.095, 0.150, 0.090)
PLASMA = _vector(0.012, 0.022, 0.010)
MONOCYTE_GREY = _vector(0.20, 0.25, 0.09)


def transmission(density: Field) -> Field:
    """Share of light that comes through, ``[H, W, 3]`` in 0..1, of densities ``[H, W, 3]``."""
    return np.power(np.float32(10.0), -density).astype(np.float32)


def lay_over(canvas: Image, share: Field, x: int, y: int) -> None:
    """Multiplies ``share`` ``[h, w, 3]`` into ``canvas`` in place, its top-left at (x, y) px.

    What lies outside the canvas is cut off.
    """
    import cv2

    height, width = share.shape[:2]
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(width, canvas.shape[1] - x), min(height, canvas.shape[0] - y)
    if left >= right or top >= bottom:
        return
    part = canvas[y + top : y + bottom, x + left : x + right]
    part[:] = cv2.multiply(part, share[top:bottom, left:right], dtype=cv2.CV_8U)
