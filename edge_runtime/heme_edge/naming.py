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
from heme_edge.field_score import READABLE, FieldScore, score_field
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
class NamedField:
    """The cells of one field, and how much of the field can be read."""

    cells: list[NamedCell]
    score: FieldScore


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

    def name_field(self, image: Image, um_per_px: float, glass: float | None = None) -> NamedField:
        """Cells of one field; none is counted where the field cannot be read.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: its scale.
            glass: green of bare glass where it is known, see ``score_field``.
        """
        cells = self.detector.find(image, um_per_px)
        names = self.name_crops(cut_crops(image, cells, um_per_px))
        score = score_field(image, um_per_px, glass=glass)
        seen = field_of_view(image) if cells else None
        threshold = self.bundle.info.reject_threshold
        reasons = (
            reason_not_counted(
                name,
                threshold,
                cut=_is_cut(cell, image, seen),
                readable=score.at(cell.x_px, cell.y_px) == READABLE,
            )
            for cell, name in zip(cells, names, strict=True)
        )
        return NamedField(list(map(NamedCell, cells, names, reasons)), score)


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
