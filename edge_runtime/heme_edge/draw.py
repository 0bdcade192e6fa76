"""The annotated frame: a circle and a code on every cell, and the notice below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.cells import cell_class
from heme_edge.crops import Image
from heme_edge.notices import losses_in_short
from heme_edge.results import CellName

LINEAGE_COLOURS = {
    "granulocytic": (0, 114, 178),
    "erythroid": (213, 94, 0),
    "lymphoid": (0, 130, 95),
    "monocytic": (140, 60, 140),
    "megakaryocytic": (170, 120, 0),
    "other": (70, 70, 70),
}
"""RGB, after Okabe & Ito's palette for colour-blind readers, darkened for a bright field."""
COUNTED, NEW, UNSURE, LEFT_OUT = "counted", "new", "uncertain", "left-out"
"""States of a cell: in the differential; not settled yet; known, but not which; not counted."""
NEW_COLOUR, UNSURE_COLOUR, LEFT_OUT_COLOUR = (20, 20, 20), (200, 30, 90), (110, 110, 110)
DASHES = 12
FONT_SCALE, BANNER_PX, BAR_PX = 0.5, 26, (100, 10)


@dataclass(frozen=True)
class ShownCell:
    """A cell in a frame.

    Attributes:
        x_px, y_px, radius_px: the whole cell, px of the frame.
        name: what it is taken for so far, or None.
        state: one of the four above.
    """

    x_px: float
    y_px: float
    radius_px: float
    name: CellName | None
    state: str


def annotate(
    image: Image,
    cells: Sequence[ShownCell],
    notes: str = "",
    losses: Sequence[str] = (),
    focus: float | None = None,
) -> Image:
    """A copy of a field with its cells drawn and a banner added below.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        cells: what it shows. Counted cells have a thick circle in the colour of their lineage, new
            ones a thin black one, uncertain ones a dashed one and a question mark; what is not
            counted is thin and grey.
        notes: said in the banner before the research-use notice, ASCII.
        losses: the bundle's accepted losses, told in short in a second banner.
        focus: 0..1, shown as a bar at the top right; None shows none.

    Returns:
        RGB uint8 ``[H + 26, W, 3]``; ``[H + 52, W, 3]`` where there are losses.
    """
    canvas = image.copy()
    for cell in cells:
        _draw_cell(canvas, cell)
    if focus is not None:
        _focus_bar(canvas, focus)
    lines = [f"{notes}  {RESEARCH_USE_ONLY}".strip(), losses_in_short(losses)]
    return np.concatenate([canvas, *(_banner(image.shape[1], line) for line in lines if line)])


def _draw_cell(canvas: Image, cell: ShownCell) -> None:
    import cv2

    colour = _colour(cell)
    centre = (round(cell.x_px), round(cell.y_px))
    radius = max(3, round(cell.radius_px))
    if cell.state == UNSURE:
        for start in range(0, 360, 360 // DASHES):
            end = start + 180 // DASHES
            cv2.ellipse(canvas, centre, (radius, radius), 0, start, end, colour, 2, cv2.LINE_AA)
    else:
        cv2.circle(canvas, centre, radius, colour, 1 + (cell.state == COUNTED), cv2.LINE_AA)
    if cell.name is not None and cell.state != NEW:
        label = cell.name.code + ("?" if cell.state == UNSURE else "")
        _text(
            canvas,
            label,
            (centre[0] + round(radius * 0.7), centre[1] - round(radius * 0.7)),
            colour,
        )


def _colour(cell: ShownCell) -> tuple[int, int, int]:
    if cell.state == COUNTED and cell.name is not None:
        return LINEAGE_COLOURS[cell_class(cell.name.code).lineage]
    return {NEW: NEW_COLOUR, UNSURE: UNSURE_COLOUR}.get(cell.state, LEFT_OUT_COLOUR)


def _focus_bar(canvas: Image, focus: float) -> None:
    """Full for the sharpest of this scene; red where the frame is not used for it."""
    import cv2

    right, top, height = canvas.shape[1] - BAR_PX[0] - 12, 12, BAR_PX[1]
    colour = (0, 130, 95) if focus >= 0.5 else (200, 40, 40)
    end = right + max(1, round(BAR_PX[0] * focus))
    cv2.rectangle(canvas, (right, top), (right + BAR_PX[0], top + height), (255, 255, 255), -1)
    cv2.rectangle(canvas, (right, top), (end, top + height), colour, -1)
    cv2.rectangle(canvas, (right, top), (right + BAR_PX[0], top + height), (30, 30, 30), 1)
    _text(canvas, "focus", (right - 50, top + height), (30, 30, 30))


def _banner(width: int, line: str) -> Image:
    banner = np.full((BANNER_PX, width, 3), 30, np.uint8)
    _text(banner, line, (8, 18), (240, 240, 240), halo=(30, 30, 30))
    return banner


def _text(
    canvas: Image,
    text: str,
    at: tuple[int, int],
    colour: tuple[int, int, int],
    halo: tuple[int, int, int] = (255, 255, 255),
) -> None:
    import cv2

    for thickness, ink in ((3, halo), (1, colour)):
        cv2.putText(
            canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, FONT_SCALE, ink, thickness, cv2.LINE_AA
        )
