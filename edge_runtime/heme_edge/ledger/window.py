"""The part of a slide that a frame shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from heme_edge.crops import CROP_UM
from heme_edge.ledger.places import Circle
from heme_edge.stage import Placement

HALF_CROP_UM = CROP_UM / 2
Area = tuple[float, float, float, float]
"""Left, top, right and bottom, µm."""


@dataclass(frozen=True)
class Window:
    """A frame on its patch of the slide.

    Attributes:
        placement: of its first pixel.
        width_px, height_px: its size.
        um_per_px: its scale.
    """

    placement: Placement
    width_px: int
    height_px: int
    um_per_px: float

    @property
    def patch(self) -> int:
        """The patch it lies in."""
        return self.placement.patch

    def area(self, margin_um: float = 0.0) -> Area:
        """What it shows, without a margin; a negative margin is added around it."""
        left, top = self.placement.x_um, self.placement.y_um
        right = left + (self.width_px - 1) * self.um_per_px
        bottom = top + (self.height_px - 1) * self.um_per_px
        return left + margin_um, top + margin_um, right - margin_um, bottom - margin_um

    def part(self, area: Area) -> tuple[Window, tuple[slice, slice]]:
        """The part of the frame that shows an area, and its rows and columns."""
        left, top = self.placement.x_um, self.placement.y_um
        x0, y0 = (int(max(0.0, v)) for v in self._px(area[0] - left, area[1] - top))
        x1, y1 = (ceil(v) + 1 for v in self._px(area[2] - left, area[3] - top))
        x1, y1 = min(x1, self.width_px), min(y1, self.height_px)
        corner = self.place_um(x0, y0)
        placement = replace(self.placement, x_um=corner[0], y_um=corner[1])
        part = Window(placement, x1 - x0, y1 - y0, self.um_per_px)
        return part, (slice(y0, y1), slice(x0, x1))

    def _px(self, *um: float) -> tuple[float, ...]:
        return tuple(one / self.um_per_px for one in um)

    def place_um(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Slide position of a pixel."""
        return (
            self.placement.x_um + x_px * self.um_per_px,
            self.placement.y_um + y_px * self.um_per_px,
        )

    def pixel(self, one: Circle) -> tuple[float, float, float]:
        """Centre and radius of a circle of the slide, px of the frame."""
        x_um, y_um = one.x_um - self.placement.x_um, one.y_um - self.placement.y_um
        return x_um / self.um_per_px, y_um / self.um_per_px, one.radius_um / self.um_per_px

    def shows(self, one: Circle, margin_um: float = 0.0) -> bool:
        """Whether the centre of a circle lies in it, so far from its border."""
        left, top, right, bottom = self.area(margin_um)
        return left <= one.x_um <= right and top <= one.y_um <= bottom

    def shows_whole(self, one: Circle) -> bool:
        """Whether it shows a cell with the crop that it is named from."""
        return self.shows(one, max(HALF_CROP_UM, one.radius_um))
