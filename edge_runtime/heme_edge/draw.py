"""The annotated frame: a circle and a code on every cell, and the notice below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.cells import cell_class
from heme_edge.crops import Image
from heme_edge.notices import losses_in_short
from heme_edge.results import NamedCell

LINEAGE_COLOURS = {
    "granulocytic": (0, 114, 178),
    "erythroid": (213, 94, 0),
    "lymphoid": (0, 130, 95),
    "monocytic": (140, 60, 140),
    "megakaryocytic": (170, 120, 0),
    "other": (70, 70, 70),
}
"""RGB, after Okabe & Ito's palette for colour-blind readers, darkened for a bright field."""
LEFT_OUT_COLOUR = (110, 110, 110)
FONT_SCALE, BANNER_PX = 0.5, 26


def annotate(
    image: Image, cells: Sequence[NamedCell], notes: str = "", losses: Sequence[str] = ()
) -> Image:
    """A copy of a field with its cells drawn and a banner added below.

    Args:
        image: RGB uint8 ``[H, W, 3]``.
        cells: what was found; cells that are not counted are drawn thin and grey.
        notes: said in the banner before the research-use notice, ASCII.
        losses: the bundle's accepted losses, told in short in a second banner.

    Returns:
        RGB uint8 ``[H + 26, W, 3]``; ``[H + 52, W, 3]`` where there are losses.
    """
    canvas = image.copy()
    for cell in cells:
        _draw_cell(canvas, cell)
    lines = [f"{notes}  {RESEARCH_USE_ONLY}".strip(), losses_in_short(losses)]
    return np.concatenate([canvas, *(_banner(image.shape[1], line) for line in lines if line)])


def _draw_cell(canvas: Image, named: NamedCell) -> None:
    import cv2

    colour = LINEAGE_COLOURS[cell_class(named.name.code).lineage]
    if not named.counted:
        colour = LEFT_OUT_COLOUR
    centre = (round(named.cell.x_px), round(named.cell.y_px))
    radius = max(3, round(named.cell.radius_px))
    cv2.circle(canvas, centre, radius, colour, 2 if named.counted else 1, cv2.LINE_AA)
    label = named.name.code + ("?" if named.reason == "uncertain" else "")
    at = (centre[0] + round(radius * 0.7), centre[1] - round(radius * 0.7))
    _text(canvas, label, at, colour)


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
