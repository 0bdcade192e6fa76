"""Which detection is which entry: greedy mutual nearest within a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from heme_edge.ledger.places import Places
from heme_edge.results import NUCLEATED

Table = NDArray[np.float64]
GATE_SHARE, CUT_SHARE = 0.5, 0.9
"""Two places within this share of the larger radius are one cell's; within the second one where
the border cuts it, since the centre is then that of a part."""
PLACE_UM = 1.0
"""Added to the gate: what a placement of the best quality may be off; twice that for the worst."""


@dataclass(eq=False)
class Spot:
    """A cell as one look, or the ledger, has it.

    Attributes:
        x_um, y_um, radius_um: on the slide.
        problem: why it cannot be named, or empty.
        kind: ``NUCLEATED`` or ``PLATELET_CLUMP``.
        score: how sure the detector was of it, 0..1; of an entry, at its surest.
    """

    x_um: float
    y_um: float
    radius_um: float
    problem: str = ""
    kind: str = NUCLEATED
    score: float = 1.0


def mutual_nearest(distances: Table, gates: Table) -> list[tuple[int, int]]:
    """Pairs of row and column, each in one pair at most, nearest first.

    The nearest pair of all is taken, then the nearest of what is left: at its turn each pair is
    mutually nearest. Where cells lie farther apart than twice the gate this is the optimal
    assignment (Kuhn 1955), which costs more.

    Args:
        distances: ``[N, M]``, any unit.
        gates: ``[N, M]``, the same unit; what is farther apart is no pair.
    """
    rows, columns = np.nonzero(distances <= gates)
    return _greedy(rows, columns, distances[rows, columns])


def _greedy(
    rows: NDArray[np.intp], columns: NDArray[np.intp], distances: Table
) -> list[tuple[int, int]]:
    order = np.argsort(distances, kind="stable")
    pairs: list[tuple[int, int]] = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            pairs.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    return pairs


S = TypeVar("S", bound=Spot)


def same(some: Sequence[S], places: Places[S], quality: float) -> list[tuple[S, S]]:
    """The pairs of ``mutual_nearest`` among cells by place, of which there may be many thousands.

    Args:
        some: cells.
        places: others; only what lies near is compared.
        quality: as in ``apart``.
    """
    near = [(one, other) for one in some for other in places.around(one.x_um, one.y_um)]
    if not near:
        return []
    a, b = _table([one for one, _ in near]), _table([other for _, other in near])
    distances = np.hypot(a[:, 0] - b[:, 0], a[:, 1] - b[:, 1])
    at = np.flatnonzero(distances <= _gates(a, b, quality))
    numbers: tuple[dict[int, int], dict[int, int]] = ({}, {})
    rows, columns = (
        np.array([numbers[k].setdefault(id(near[i][k]), i) for i in at.tolist()], np.intp)
        for k in (0, 1)
    )
    pairs = _greedy(rows, columns, distances[at])
    return [(near[row][0], near[column][1]) for row, column in pairs]


def apart(some: Sequence[Spot], others: Sequence[Spot], quality: float) -> tuple[Table, Table]:
    """Distances and gates ``[N, M]`` in µm.

    Args:
        some, others: cells.
        quality: of the placement that they are compared through, 0..1.
    """
    a, b = _table(some), _table(others)
    distances = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    return distances, _gates(a[:, None], b[None, :], quality)


def _gates(a: Table, b: Table, quality: float) -> Table:
    """Of rows of ``_table``, ``[..., 4]``."""
    cut = (a[..., 3] + b[..., 3]) > 0
    radii = np.maximum(a[..., 2], b[..., 2])
    gates = np.where(cut, CUT_SHARE, GATE_SHARE) * radii + PLACE_UM * (2 - quality)
    return np.asarray(gates, np.float64)


def _table(spots: Sequence[Spot]) -> Table:
    rows = [(s.x_um, s.y_um, s.radius_um, bool(s.problem)) for s in spots]
    return np.asarray(rows, np.float64).reshape(-1, 4)
