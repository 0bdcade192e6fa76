"""Spacing of the lines of a stage micrometer, at any angle.

Parallel lines at even distances are one line of equally spaced peaks in the picture's power
spectrum. The direction and the period are read off there, then made exact by fitting: the phase
of the lines is followed along the scale, so hundreds of px share the error of a line.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.errors import OpticsError

Plane = NDArray[np.float32]
Profile = NDArray[np.float64]

LOOK_PX = 1024
"""The longer side at most, for finding the lines."""
LEAST_PERIOD_PX = 4.0
LEAST_LINES = 5
NO_LINES = OpticsError(
    "There are no evenly spaced lines in the picture.",
    "Photograph the stage micrometer in focus, at least five of its lines across the picture.",
)


@dataclass(frozen=True)
class Spacing:
    """Distance of neighbouring lines.

    Attributes:
        period_px: px of the image from one line to the next, across the lines.
        error_px: standard error of it.
        divisions: intervals between the first and the last line measured.
    """

    period_px: float
    error_px: float
    divisions: int
