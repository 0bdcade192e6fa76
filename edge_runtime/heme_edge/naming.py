"""A field becomes named cells: detect, crop, classify, decide what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heme_edge.backends.base import Backend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_UM, Image, cut_crops
from heme_edge.detect.base import Detector
from heme_edge.field_score import FieldScore, score_field
from heme_edge.nameable import Nameable
from heme_edge.results import NUCLEATED, CellName, DetectedCell, NamedCell
from heme_edge.tally import NOT_IN_DIFFERENTIAL, reason_not_counted

if TYPE_CHECKING:
    from heme_edge.optics.drift import DriftMeter

THICK = 0.5
"""A place is too thick where the detector is surer of it than this."""
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
    """The cells of one field, and how much of the field can be read.

    Attributes:
        cells: what was found.
        score: of the field.
        probabilities: what the network said of each, float32 ``[N, C]``.
    """

    cells: list[NamedCell]
    score: FieldScore
    probabilities: Probabilities


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
        return best_two(*self.infer_crops(crops), self.bundle.codes)

    def infer_crops(self, crops: Image) -> tuple[Probabilities, Probabilities]:
        """What the network says of crops; probabilities and disagreement as ``infer_cells``."""
        if self.drift is not None:
            self.drift.see(crops)
        return self.backend.infer(crops)

    def infer_cells(
        self, image: Image, cells: Sequence[DetectedCell], um_per_px: float
    ) -> tuple[Probabilities, Probabilities]:
        """What the network says of cells of a field; of one wider than a crop, of several in it.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            cells: of it.
            um_per_px: its scale.

        Returns:
            probabilities float32 ``[N, C]``, disagreement float32 ``[N]`` in nats.
        """
        views = [_views(cell, um_per_px) for cell in cells]
        crops = cut_crops(image, [one for some in views for one in some], um_per_px)
        probabilities, disagreement = self.infer_crops(crops)
        counts = np.array([len(some) for some in views], np.intp)
        if len(counts) and counts.max() > 1:
            first = np.cumsum(counts) - counts
            weights = (1 / counts).astype(np.float32)
            probabilities = np.add.reduceat(probabilities, first) * weights[:, None]
            disagreement = np.add.reduceat(disagreement, first) * weights
        return probabilities, disagreement

    def name_field(self, image: Image, um_per_px: float, glass: float | None = None) -> NamedField:
        """Cells of one field; none is counted where the field cannot be read.

        Args:
            image: RGB uint8 ``[H, W, 3]``.
            um_per_px: its scale.
            glass: green of bare glass where it is known, see ``score_field``.
        """
        finds = self.detector.look(image, um_per_px)
        cells = finds.cells
        probabilities, disagreement = self.infer_cells(image, cells, um_per_px)
        names = best_two(probabilities, disagreement, self.bundle.codes)
        thick = finds.thicker_than(THICK)
        score = score_field(image, um_per_px, glass=glass, thick=thick)
        can = Nameable.of(image, score)
        reasons = (
            (can.problem(cell.x_px, cell.y_px, cell.radius_px) if cell.kind == NUCLEATED else "")
            or self.reason(name, cell.kind)
            for cell, name in zip(cells, names, strict=True)
        )
        return NamedField(list(map(NamedCell, cells, names, reasons)), score, probabilities)

    def reason(self, name: CellName, kind: str) -> str:
        """Why a cell that is seen whole and clearly is not in the differential, or empty."""
        if kind != NUCLEATED:
            return NOT_IN_DIFFERENTIAL
        return reason_not_counted(name, self.bundle.info.reject_threshold)


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
