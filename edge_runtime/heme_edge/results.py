"""Typed results that pass between detection, classification and output."""

from __future__ import annotations

from dataclasses import dataclass

NUCLEATED, PLATELET_CLUMP = "cell", "platelet-clump"
"""Kinds of what is found in a field."""


@dataclass(frozen=True)
class DetectedCell:
    """One object found in a field.

    Attributes:
        x_px, y_px: centre of the whole cell (nucleus and cytoplasm), px of the field.
        radius_px: radius of the whole cell as a circle of equal area, px of the field.
        score: 0..1, how sure the detector is that this is a cell it looks for.
        kind: ``NUCLEATED`` (of any size) or ``PLATELET_CLUMP``.
    """

    x_px: float
    y_px: float
    radius_px: float
    score: float
    kind: str = NUCLEATED


@dataclass(frozen=True)
class CellName:
    """What the classifier says about one crop.

    Attributes:
        code, probability: the class with the highest probability.
        second_code, second_probability: the runner-up.
        disagreement: mutual information between ensemble members, nats; 0 for one member.
    """

    code: str
    probability: float
    second_code: str
    second_probability: float
    disagreement: float


@dataclass(frozen=True)
class NamedCell:
    """A detected cell with its name and whether it enters the differential.

    Attributes:
        reason: empty when counted, else ``uncertain``, ``not-in-differential``, ``edge``,
            ``artifact`` or ``unreadable-field``.
    """

    cell: DetectedCell
    name: CellName
    reason: str

    @property
    def counted(self) -> bool:
        """Whether the cell is in the differential's denominator."""
        return not self.reason
