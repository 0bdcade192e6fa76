"""The detector interface: classical and learned detectors are used alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.results import DetectedCell


@dataclass(frozen=True)
class Finds:
    """What a detector says of one field.

    Attributes:
        cells: surest first.
        thick: how surely each place is too thick to read, float32 ``[h, w]`` in 0..1, which
            divides the field evenly; None where the detector does not say.
    """

    cells: list[DetectedCell]
    thick: NDArray[np.float32] | None = None

    def thicker_than(self, least: float) -> NDArray[np.bool_] | None:
        """Where it is surer than ``least`` that a place is too thick."""
        return None if self.thick is None else self.thick > least


class Detector(Protocol):
    """Finds nucleated cells (and clumps, see ``looks_for``) in a field.

    One instance belongs to one thread.
    """

    @property
    def name(self) -> str:
        """Short name shown in outputs, for example ``classical``."""
        ...

    @property
    def looks_for(self) -> tuple[str, ...]:
        """What it searches for, in words; anything else is "not counted here"."""
        ...

    def find(self, image: Image, um_per_px: float) -> list[DetectedCell]:
        """Cells of one field.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: scale, 0.05 to 1.0 µm/px.

        Returns:
            centres and radii of whole cells in px of ``image``, highest score first.
        """
        ...

    def look(self, image: Image, um_per_px: float) -> Finds:
        """Cells of one field, and where it is too thick to read if the detector can tell."""
        return Finds(self.find(image, um_per_px))
