"""A field becomes named cells: detect, crop, classify, decide what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_edge.backends.base import Backend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_UM, Image, cut_crops
from heme_edge.detect.base import Detector
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.field_score import READABLE, FieldScore, score_field
from heme_edge.results import CellName, DetectedCell, NamedCell
from heme_edge.tally import NOT_IN_DIFFERENTIAL, reason_not_counted

if TYPE_CHECKING:
    from heme_edge.optics.drift import DriftMeter

THICK = 0.5
"""A place is too thick where the detector is surer of it than this."""
NUCLEATED = "cell"
INSIDE_UM = 6.0
VIEW_STEP_UM = 10.0
"""Crops of a cell wider than one lie this far apart, their middles this far inside of it."""


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

    def name_cells(
        self, image: Image, cells: Sequence[DetectedCell], um_per_px: float
    ) -> list[CellName]:
        """Names of cells of a field; one wider than a crop from several crops inside it.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            cells: of it.
            um_per_px: its scale.
        """
        views = [_views(cell, um_per_px) for cell in cells]
        crops = cut_crops(image, [one for some in views for one in some], um_per_px)
        if self.drift is not None:
            self.drift.see(crops)
        probabilities, disagreement = self.backend.infer(crops)
        counts = np.array([len(some) for some in views], np.intp)
        if len(counts) and counts.max() > 1:
            first = np.cumsum(counts) - counts
            weights = (1 / counts).astype(np.float32)
            probabilities = np.add.reduceat(probabilities, first) * weights[:, None]
            disagreement = np.add.reduceat(disagreement, first) * weights
        return best_two(probabilities, disagreement, self.bundle.codes)

    def name_field(self, image: Image, um_per_px: float, glass: float | None = None) -> NamedField:
        """Cells of one field; none is counted where the field cannot be read.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: its scale.
            glass: green of bare glass where it is known, see ``score_field``.
        """
        finds = self.detector.look(image, um_per_px)
        cells = finds.cells
        names = self.name_cells(image, cells, um_per_px)
        thick = None if finds.thick is None else finds.thick > THICK
        score = score_field(image, um_per_px, glass=glass, thick=thick)
        seen = field_of_view(image) if cells else None
        threshold = self.bundle.info.reject_threshold
        reasons = (
            reason_not_counted(
                name,
                threshold,
                cut=_is_cut(cell, image, seen),
                readable=score.at(cell.x_px, cell.y_px) == READABLE,
            )
            if cell.kind == NUCLEATED
            else NOT_IN_DIFFERENTIAL
            for cell, name in zip(cells, names, strict=True)
        )
        return NamedField(list(map(NamedCell, cells, names, reasons)), score)


def _views(cell: DetectedCell, um_per_px: float) -> list[DetectedCell]:
    """Where crops of a cell are cut: its middle, or all over one that is wider than a crop."""
    radius_um = cell.radius_px * um_per_px
    if radius_um <= CROP_UM / 2:
        return [cell]
    reach = int((radius_um - INSIDE_UM) // VIEW_STEP_UM)
    steps = np.arange(-reach, reach + 1) * VIEW_STEP_UM
    x, y = (plane.ravel() for plane in np.meshgrid(steps, steps))
    inside = np.hypot(x, y) <= radius_um - INSIDE_UM
    return [
        replace(cell, x_px=cell.x_px + dx / um_per_px, y_px=cell.y_px + dy / um_per_px)
        for dx, dy in zip(x[inside], y[inside], strict=True)
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
