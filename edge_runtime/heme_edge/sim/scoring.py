"""How well cells were found in a composed field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from heme_edge.results import NUCLEATED, DetectedCell
from heme_edge.sim.compose import CELL, LARGE, Composed, ComposedCell

WITHIN_UM = 4.0
"""A find is of a cell when its centre is this near."""
BORDER_UM = 2.0
"""Cells whose centre is nearer to the border than this neither count as missed nor as false."""


@dataclass(frozen=True)
class Score:
    """Counts over fields, which add up.

    Attributes:
        hit, missed: nucleated cells.
        false: finds that are none; those on smudges and in thick areas are not counted.
        touching_hit, touching_missed: of the cells that touch another one.
        away_um: from each cell that was hit to its find.
    """

    hit: int = 0
    missed: int = 0
    false: int = 0
    touching_hit: int = 0
    touching_missed: int = 0
    away_um: tuple[float, ...] = ()

    def __add__(self, other: Score) -> Score:
        """The counts of both."""
        return Score(
            self.hit + other.hit,
            self.missed + other.missed,
            self.false + other.false,
            self.touching_hit + other.touching_hit,
            self.touching_missed + other.touching_missed,
            self.away_um + other.away_um,
        )

    @property
    def recall(self) -> float:
        """Share of the cells that were found; NaN without cells."""
        return _share(self.hit, self.missed)

    @property
    def touching_recall(self) -> float:
        """The same of touching cells."""
        return _share(self.touching_hit, self.touching_missed)

    @property
    def precision(self) -> float:
        """Share of the finds that are cells."""
        return _share(self.hit, self.false)

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision."""
        return 2 * self.hit / max(1, 2 * self.hit + self.missed + self.false)

    def as_dict(self) -> dict[str, Any]:
        """The figures, rounded."""
        counts = {k: v for k, v in asdict(self).items() if k != "away_um"}
        p95 = float(np.percentile(self.away_um, 95)) if self.away_um else float("nan")
        return {
            "recall": round(self.recall, 4),
            "precision": round(self.precision, 4),
            "touching_recall": round(self.touching_recall, 4),
            "centre_error_p95_um": round(p95, 2),
            **counts,
        }


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part + rest else float("nan")


def pairs(
    places: Sequence[tuple[float, float]], finds: Sequence[DetectedCell], reach_px: float
) -> dict[int, int]:
    """Places and finds matched one to one, nearest pairs first.

    Args:
        places: x, y in px.
        finds: what was found.
        reach_px: the furthest a find may be from its place.

    Returns:
        number of the find by number of the place.
    """
    if not places or not finds:
        return {}
    at = np.array([(f.x_px, f.y_px) for f in finds])
    away = np.hypot(*(np.array(places)[:, None] - at).transpose(2, 0, 1))
    matched: dict[int, int] = {}
    used: set[int] = set()
    for flat in np.argsort(away, axis=None):
        place, find = divmod(int(flat), len(finds))
        if away[place, find] > reach_px:
            break
        if place not in matched and find not in used:
            matched[place] = find
            used.add(find)
    return matched


def score(field: Composed, finds: Sequence[DetectedCell]) -> Score:
    """How well the nucleated cells of one field were found."""
    um = field.um_per_px
    cells = [c for c in field.cells if c.kind in (CELL, LARGE)]
    finds = [f for f in finds if f.kind == NUCLEATED]
    matched = pairs([(c.x_px, c.y_px) for c in cells], finds, WITHIN_UM / um)
    counts = [k for k, c in enumerate(cells) if not c.thick and _inside(field, c.x_px, c.y_px)]
    hit = [k for k in counts if k in matched]
    false = [
        f for k, f in enumerate(finds) if k not in set(matched.values()) and _is_false(field, f)
    ]
    touching = [k for k in counts if cells[k].touching]
    away = [_away_um(finds[matched[k]], cells[k], um) for k in hit]
    return Score(
        len(hit),
        len(counts) - len(hit),
        len(false),
        sum(k in matched for k in touching),
        sum(k not in matched for k in touching),
        tuple(away),
    )


def _away_um(find: DetectedCell, cell: ComposedCell, um_per_px: float) -> float:
    return float(np.hypot(find.x_px - cell.x_px, find.y_px - cell.y_px)) * um_per_px


def _inside(field: Composed, x: float, y: float) -> bool:
    margin = BORDER_UM / field.um_per_px
    height, width = field.image.shape[:2]
    return bool(margin <= x < width - margin and margin <= y < height - margin)


def _is_false(field: Composed, find: DetectedCell) -> bool:
    """Whether a find without a cell counts against the detector."""
    if not _inside(field, find.x_px, find.y_px):
        return False
    if field.thick[int(find.y_px), int(find.x_px)]:
        return False
    return not any(
        np.hypot(find.x_px - c.x_px, find.y_px - c.y_px) < c.radius_px
        for c in field.cells
        if c.kind not in (CELL, LARGE)
    )
