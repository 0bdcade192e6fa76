"""When an entry of the ledger is counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """When an entry is counted.

    Attributes:
        sightings: frames in which it must have been found whole.
        views: named views that its name is made of.
        looks: times that a place is looked at before it is known, and that a cell must have been
            found before it is named without being found again.
        score: that it must have had in one of its sightings: what was never found but faintly is
            an alarm mostly.
    """

    sightings: int = 2
    views: int = 3
    looks: int = 4
    score: float = 0.4


MOVING = Rules()
SEPARATE = Rules(1, 1, 1, 0.0)
"""For pictures that show each place once: photos, and the fields of a whole slide."""
