"""Counting: which named cells enter the differential, and percentages with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from heme_edge.bundle import Bundle
from heme_edge.cells import ARTIFACT_CODE, cell_class
from heme_edge.results import CellName, NamedCell

Z95 = 1.959963984540054
UNCERTAIN = "uncertain"
NOT_IN_DIFFERENTIAL = "not-in-differential"
EDGE = "edge"
ARTIFACT = "artifact"
UNREADABLE_FIELD = "unreadable-field"


def wilson(count: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), as fractions 0..1.

    Args:
        count: cells of the class.
        total: cells counted; 0 gives (0, 1), since nothing is known.
        z: normal quantile; 1.96 for 95 %.
    """
    if total == 0:
        return 0.0, 1.0
    p = count / total
    denominator = 1 + z * z / total
    middle = (p + z * z / (2 * total)) / denominator
    half = z / denominator * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == total else min(1.0, middle + half)
    return low, high


def reason_not_counted(name: CellName, threshold: float) -> str:
    """Why a cell that is seen whole and clearly is not in the differential; empty when it is.

    Args:
        name: what the classifier said.
        threshold: the bundle's reject threshold on the best probability.
    """
    if name.probability < threshold:
        return UNCERTAIN
    if name.code == ARTIFACT_CODE:
        return ARTIFACT
    if not cell_class(name.code).in_differential:
        return NOT_IN_DIFFERENTIAL
    return ""


@dataclass(frozen=True)
class Row:
    """One line of a differential; ``percent`` and the interval are of counted cells, 0..100."""

    code: str
    name: str
    count: int
    percent: float
    low95: float
    high95: float


@dataclass
class Tally:
    """Cells counted so far, by class, and those left out, by reason.

    Args:
        names: class code to the bundle's name for it, in the bundle's order.
    """

    names: dict[str, str]
    counted: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, bundle: Bundle) -> Tally:
        """An empty tally of a bundle's classes."""
        return cls({c.code: c.name for c in bundle.info.classes})

    def add(self, cells: Iterable[NamedCell]) -> None:
        """Adds named cells."""
        for cell in cells:
            self.add_one(cell.name.code, cell.reason)

    def add_one(self, code: str, reason: str, count: int = 1) -> None:
        """Adds a cell of a class, or several; it is counted when there is no reason not to."""
        if reason:
            self.left_out[reason] += count
        else:
            self.counted[code] += count

    def take_back(self, code: str, reason: str) -> None:
        """Undoes ``add_one``: the cell turned out to be one that is there already."""
        if reason:
            self.left_out[reason] -= 1
        else:
            self.counted[code] -= 1

    @property
    def total(self) -> int:
        """Counted nucleated cells: the denominator of every percentage."""
        return sum(self.counted.values())

    def rows(self) -> Sequence[Row]:
        """A line for every class of the bundle that is counted in a differential."""
        rows = []
        for code, name in self.names.items():
            if not cell_class(code).in_differential:
                continue
            count = self.counted[code]
            low, high = wilson(count, self.total)
            percent = 100 * count / self.total if self.total else 0.0
            rows.append(Row(code, name, count, percent, 100 * low, 100 * high))
        return rows

    def record(self) -> dict[str, Any]:
        """The differential for JSON; percentages to two decimals."""
        left_out = {reason: count for reason, count in sorted(self.left_out.items()) if count}
        classes = [_rounded(asdict(row)) for row in self.rows()]
        return {"counted": self.total, "not_counted": left_out, "classes": classes}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()}
