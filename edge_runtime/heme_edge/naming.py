"""A field becomes named cells: detect, crop, classify, decide what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_edge.backends.base import Backend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import Image, cut_crops
from heme_edge.detect.base import Detector
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.results import CellName, DetectedCell, NamedCell
from heme_edge.tally import reason_not_counted

if TYPE_CHECKING:
    from heme_edge.optics.drift import DriftMeter


def best_two(
    probabilities: Probabilities, disagreement: Probabilities, codes: Sequence[str]
) -> list[CellName]:
    """The winner and the runner-up of each row of ``[N, C]`` probabilities."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        CellName(
            codes[first],
            float(p[first]),
            codes[second],
            float(p[second]),
            float(d),
        )
        for p, d, (first, second) in zip(probabilities, disagreement, order[:, :2], strict=True)
    ]


@dataclass(frozen=True)
class Namer:
    """Names the cells of fields with one detector, bundle and backend.

    Attributes:
        bundle: what the classes and the reject threshold are.
        backend: runs the model; belongs to the calling thread.
        detector: finds the cells.
        drift: is shown every crop that is named.
    """

    bundle: Bundle
    backend: Backend
    detector: Detector
    drift: DriftMeter | None = None

    def name_crops(self, crops: Image) -> list[CellName]:
        """Names of crops uint8 ``[N, 96, 96, 3]``."""
        if self.drift is not None:
            self.drift.see(crops)
        return best_two(*self.backend.infer(crops), self.bundle.codes)

    def name_field(self, image: Image, um_per_px: float) -> list[NamedCell]:
        """Cells of one field.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: its scale.
        """
        cells = self.detector.find(image, um_per_px)
        names = self.name_crops(cut_crops(image, cells, um_per_px))
        readable = is_readable(image)
        seen = field_of_view(image) if cells else None
        threshold = self.bundle.info.reject_threshold
        return [
            NamedCell(
                cell,
                name,
                reason_not_counted(
                    name, threshold, cut=_is_cut(cell, image, seen), readable=readable
                ),
            )
            for cell, name in zip(cells, names, strict=True)
        ]


def _is_cut(cell: DetectedCell, image: Image, seen: NDArray[np.bool_] | None) -> bool:
    """Whether the border of the picture, or of a round field of view, cuts the cell."""
    height, width = image.shape[:2]
    x, y, r = cell.x_px, cell.y_px, cell.radius_px
    if x - r < -0.5 or y - r < -0.5 or x + r > width - 0.5 or y + r > height - 0.5:
        return True
    if seen is None:
        return False
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    xs = np.clip(np.rint(x + r * np.cos(turns)), 0, width - 1).astype(int)
    ys = np.clip(np.rint(y + r * np.sin(turns)), 0, height - 1).astype(int)
    return not bool(seen[ys, xs].all())


MIN_BRIGHT, MIN_CONTRAST = 60, 25


def is_readable(image: Image) -> bool:
    """Whether a field has light and contrast: not black, not saturated, not one flat colour.

    The 95th percentile of green must reach 60 of 255, and the spread between its 1st and
    99th percentile 25.
    """
    green = image[::4, ::4, 1] if min(image.shape[:2]) >= 16 else image[..., 1]
    low, bright, high = np.percentile(green, (1, 95, 99))
    return bool(bright >= MIN_BRIGHT and high - low >= MIN_CONTRAST)
