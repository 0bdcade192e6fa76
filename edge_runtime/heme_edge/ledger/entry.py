"""One entry of the ledger: a physical cell, and what its views say of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.ledger.matching import Spot
from heme_edge.ledger.window import HALF_CROP_UM

STEADY = 8
"""The place of an entry is the mean of about so many sightings, so that it follows a slow drift."""

PIECE_SHARE = 0.6
"""What is smaller than this share of an object wider than a crop is a piece of it."""


def is_piece(spot: Spot, of: Spot) -> bool:
    """Whether a spot may be a part of an object wider than a crop."""
    return of.radius_um > HALF_CROP_UM and spot.radius_um < PIECE_SHARE * of.radius_um


@dataclass(frozen=True)
class View:
    """One named view of a cell.

    Attributes:
        frame: number of the frame.
        x_px, y_px: the cell's centre in it.
        probabilities: of the classes, ``[C]``.
        disagreement: between the network's members, nats.
        crop: the middle of what it was named from, where a session keeps it, until it is counted.
    """

    frame: int
    x_px: float
    y_px: float
    probabilities: NDArray[np.float32]
    disagreement: float
    crop: Image | None = None


@dataclass(eq=False, kw_only=True)
class Entry(Spot):
    """A physical cell, in the µm of its patch.

    Attributes:
        id: its number, from 0; of two entries that turn out to be one cell, one goes.
        patch: of the stage's map.
        looks: frames searched that showed it with its crop.
        chances: those of them in which it could have been named.
        seen: those in which it was found.
        views: what it was named from.
        counted: whether it has been counted.
        stands_for: numbers of counted entries that turned out to be part of it.
    """

    id: int = 0
    patch: int = 0
    looks: int = 0
    chances: int = 0
    seen: int = 0
    views: list[View] = field(default_factory=list)
    counted: bool = False
    stands_for: list[int] = field(default_factory=list)

    @property
    def doubtful(self) -> bool:
        """Whether it was found in less than two thirds of the frames in which it could be."""
        return 3 * self.seen < 2 * self.chances

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Mean over its views, ``[C]``; there must be one."""
        return np.asarray(np.mean([view.probabilities for view in self.views], axis=0), np.float32)

    @property
    def disagreement(self) -> float:
        """Mean over its views, nats; there must be one."""
        return float(np.mean([view.disagreement for view in self.views]))

    @property
    def best_view(self) -> View:
        """The view that is surest of what all of them say together; there must be one."""
        best = int(np.argmax(self.probabilities))
        return max(self.views, key=lambda view: float(view.probabilities[best]))

    def drop_crops(self) -> None:
        """Lets go of the crops of its views."""
        self.views = [replace(view, crop=None) for view in self.views]

    def place_after(self, spot: Spot) -> tuple[float, float]:
        """Takes in a sighting; returns where the cell lies then.

        A cell that was seen whole is not moved by what shows a part of it: one that the border
        cuts, or a piece of an object wider than a crop.
        """
        if not self.problem and (spot.problem or is_piece(spot, self)):
            return self.x_um, self.y_um
        self.score = max(self.score, spot.score)
        first = bool(self.problem)
        self.problem, self.kind = spot.problem, spot.kind
        share = 1.0 if first else 1 / min(self.seen + 1, STEADY)
        self.radius_um += share * (spot.radius_um - self.radius_um)
        return (
            self.x_um + share * (spot.x_um - self.x_um),
            self.y_um + share * (spot.y_um - self.y_um),
        )

    def take_over(self, other: Entry, most_views: int) -> None:
        """Adds what is known of an entry that is the same cell."""
        self.looks += other.looks
        self.chances += other.chances
        self.seen += other.seen
        self.score = max(self.score, other.score)
        self.problem = self.problem and other.problem
        self.stands_for += other.stands_for + [other.id] * other.counted
        if not self.counted and not is_piece(other, self):  # the name of a counted cell stays
            self.views = (self.views + other.views)[:most_views]
