"""The scale of a running session: given, from a profile, from the source, or from red cells."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heme_edge.crops import ASSUMED_UM_PER_PX, Image
from heme_edge.errors import OpticsError
from heme_edge.optics.profile import OpticsProfile
from heme_edge.optics.scale import LEAST_UM_PER_PX, MOST_UM_PER_PX, scale_from_red_cells

FIRST_FIELDS = 8
GIVE_ONE = "--um-per-px X, or --optics scope.json as heme-calibrate optics writes it"


@dataclass(frozen=True)
class SessionScale:
    """µm/px of a session and where it came from.

    Attributes:
        um_per_px: of frames as wide as the profile's, or of all.
        source: ``given``, ``source``, ``assumed``, ``red-cells``, ``micrometer`` or ``objective``.
        low95, high95: 95 % interval; None where nobody knows it.
        cells: red cells it was measured on here, or 0.
        profile: what it came from, or None.
    """

    um_per_px: float
    source: str
    low95: float | None = None
    high95: float | None = None
    cells: int = 0
    profile: OpticsProfile | None = None

    def at(self, width_px: int) -> float:
        """µm/px of a frame so many px wide."""
        return self.profile.um_per_px_at(width_px) if self.profile else self.um_per_px

    @property
    def words(self) -> str:
        """For people: ``0.23 µm/px (0.192-0.276), from 84 red cells``."""
        interval = "" if self.low95 is None else f" ({self.low95:.3g}-{self.high95:.3g})"
        if self.cells:
            return f"{self.um_per_px:.3g} µm/px{interval}, from {self.cells} red cells"
        if self.profile:
            return f"{self.um_per_px:.3g} µm/px{interval}, {self.source}, from the optics profile"
        return f"{self.um_per_px:g} µm/px{interval}, {self.source}"

    def record(self) -> dict[str, Any]:
        """For outputs."""
        known = {"um_per_px": self.um_per_px, "um_per_px_source": self.source}
        if self.low95 is None:
            return known
        return known | {"um_per_px_low95": self.low95, "um_per_px_high95": self.high95}


def known_scale(
    um_per_px: float | None, profile: OpticsProfile | None, of_source: float | None = None
) -> SessionScale | None:
    """The scale that needs no picture: what the user, a profile or the source says, in that order.

    Args:
        um_per_px: given by the user.
        profile: of the camera, or None.
        of_source: what the frame source knows (the simulated stage does).
    """
    if um_per_px is not None:
        return SessionScale(um_per_px, "given")
    if profile is not None:
        return SessionScale(
            profile.um_per_px, profile.um_per_px_source, profile.um_per_px_low95,
            profile.um_per_px_high95, profile=profile,
        )  # fmt: skip
    return None if of_source is None else SessionScale(of_source, "source")


def assumed_scale() -> SessionScale:
    """For single-cell crops, which show no scale, and where nothing can be read anyway."""
    return SessionScale(ASSUMED_UM_PER_PX, "assumed")


def measured_scale(images: Sequence[Image]) -> SessionScale:
    """The scale from the red cells of the first fields; where they do not tell it, the user's.

    Args:
        images: RGB uint8 fields of one scale.

    Raises:
        OpticsError: red cells do not tell, and there is nobody at a terminal to ask.
    """
    try:
        if not images:
            raise OpticsError("No field could be read.")
        scale = scale_from_red_cells(images)
    except OpticsError as error:
        return _asked(error)
    return SessionScale(
        round(scale.um_per_px, 4), scale.source, round(scale.low95, 4), round(scale.high95, 4),
        scale.cells,
    )  # fmt: skip


def _asked(error: OpticsError) -> SessionScale:
    import click

    what = f"The scale cannot be told from the pictures: {error.message}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise OpticsError(what, GIVE_ONE) from error
    click.echo(what, err=True)
    kind = click.FloatRange(LEAST_UM_PER_PX, MOST_UM_PER_PX)
    return SessionScale(click.prompt("µm per pixel", type=kind, err=True), "given")
