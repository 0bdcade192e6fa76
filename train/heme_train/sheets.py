"""Pictures of an explanation, drawn with OpenCV: class sheets and scatter plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.cells import cell_class
from heme_edge.crops import CROP_PX, Image
from heme_train.explain import METHODS, Explained, Map, Mask

ZOOM = 2
TILE = ZOOM * CROP_PX
GAP, LINE = 8, 22
INK, PAPER, OUTLINE = (30, 30, 30), (255, 255, 255), (255, 255, 255)
PALETTE = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (150, 140, 20),
    (0, 0, 0),
)
"""RGB after Okabe & Ito, for colour-blind readers; the yellow is darkened to be seen on white."""
MARKERS = ("disc", "square", "triangle", "cross")
PLOT_PX, LEGEND_PX, DOT_PX = 720, 190, 4


def class_sheet(code: str, cells: Sequence[Explained]) -> Image:
    """A row for each crop: the crop, and each method's saliency over it.

    Below each picture stands the share of the saliency inside the outline, and what even
    saliency would give.

    Args:
        code: the class the crops are of.
        cells: at least one.

    Returns:
        RGB uint8.
    """
    width = (1 + len(METHODS)) * (TILE + GAP) + GAP
    title = _line(width, f"{code}  {cell_class(code).name}")
    rows = [np.concatenate(_row(cell), axis=1) for cell in cells]
    return np.concatenate([title, *rows, _line(width, RESEARCH_USE_ONLY, 0.42)])


def _row(cell: Explained) -> list[Image]:
    parts = [_panel(_enlarged(cell.image), f"named {cell.named}")]
    for method, title in METHODS.items():
        share = cell.share_inside(method)
        said = "none" if share is None else f"{share:.0%}"
        picture = overlay(cell.image, cell.maps[method], cell.cell)
        parts.append(_panel(picture, f"{title} {said} (even {cell.chance:.0%})"))
    margin = np.full((parts[0].shape[0], GAP, 3), PAPER, np.uint8)
    return [*parts, margin]


def _panel(picture: Image, said: str) -> Image:
    panel = np.full((TILE + LINE + GAP, TILE + GAP, 3), PAPER, np.uint8)
    panel[:TILE, GAP:] = picture
    _write(panel, said, (GAP, TILE + 16), 0.42)
    return panel


def _enlarged(image: Image) -> Image:
    import cv2

    return np.asarray(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_LINEAR), np.uint8)


def overlay(image: Image, saliency: Map, cell: Mask) -> Image:
    """Saliency over a crop, twice enlarged, with the outline of the cell in white.

    Args:
        image: RGB uint8 ``[96, 96, 3]``.
        saliency: ``[96, 96]``; its 99th percentile is the brightest.
        cell: ``[96, 96]``.
    """
    import cv2

    top = max(float(np.percentile(saliency, 99)), 1e-12)
    level = np.clip(_enlarged((np.clip(saliency / top, 0, 1) * 255).astype(np.uint8)), 0, 255)
    heat = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(_enlarged(image), cv2.COLOR_RGB2GRAY)[..., None]
    mixed = np.asarray(0.45 * grey + 0.55 * heat, np.uint8)
    edge = _enlarged(cell.astype(np.uint8) * 255)
    contours, _ = cv2.findContours(
        (edge > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return np.asarray(cv2.drawContours(mixed, contours, -1, OUTLINE, 1, cv2.LINE_AA), np.uint8)


def scatter(points: NDArray[np.float32], labels: Sequence[str], title: str) -> Image:
    """Points in the plane, coloured and marked by label, with a legend.

    Args:
        points: ``[N, 2]``.
        labels: of each point; up to 32 are told apart by colour and mark.
        title: said above.

    Returns:
        RGB uint8.
    """
    names = sorted(set(labels))
    looks = {n: (PALETTE[i % 8], MARKERS[i // 8 % 4]) for i, n in enumerate(names)}
    plot = np.full((PLOT_PX, PLOT_PX, 3), PAPER, np.uint8)
    low, high = points.min(0), points.max(0)
    spread = max(float((high - low).max()), 1e-9)
    middle, room = (low + high) / 2, PLOT_PX - 40
    places = (points - middle) / spread * room + PLOT_PX / 2
    for i in np.random.default_rng(0).permutation(len(places)):  # so that no label lies on top
        _mark(plot, places[i], *looks[labels[i]])
    whole = np.concatenate([plot, _legend(looks, labels)], axis=1)
    width = whole.shape[1]
    return np.concatenate([_line(width, title), whole, _line(width, RESEARCH_USE_ONLY, 0.42)])


def _legend(looks: dict[str, tuple[tuple[int, int, int], str]], labels: Sequence[str]) -> Image:
    legend = np.full((PLOT_PX, LEGEND_PX, 3), PAPER, np.uint8)
    for i, (name, look) in enumerate(looks.items()):
        y = 24 + i * LINE
        _mark(legend, np.array([16.0, y - 5]), *look)
        _write(legend, f"{name} ({list(labels).count(name)})", (30, y), 0.45)
    return legend


def _mark(
    canvas: Image, at: NDArray[np.floating], colour: tuple[int, int, int], marker: str
) -> None:
    import cv2

    x, y, r = round(float(at[0])), round(float(at[1])), DOT_PX
    if marker == "disc":
        cv2.circle(canvas, (x, y), r, colour, -1, cv2.LINE_AA)
    elif marker == "square":
        cv2.rectangle(canvas, (x - r, y - r), (x + r, y + r), colour, 1, cv2.LINE_AA)
    elif marker == "triangle":
        corners = np.array([[x - r, y + r], [x + r, y + r], [x, y - r]], np.int32)
        cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA)
    else:
        cv2.drawMarker(canvas, (x, y), colour, cv2.MARKER_TILTED_CROSS, 2 * r, 1, cv2.LINE_AA)


def _line(width: int, text: str, scale: float = 0.55) -> Image:
    line = np.full((LINE + GAP, width, 3), PAPER, np.uint8)
    _write(line, text, (GAP, LINE - 2), scale)
    return line


def _write(canvas: Image, text: str, at: tuple[int, int], scale: float) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
