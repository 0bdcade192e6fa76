"""Cutting the cell in the middle of a real crop out of its background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.detect.field_of_view import Mask
from heme_edge.sim.palette import Field

REACH_UM = 11.5
"""No cell of a crop reaches further from its middle."""
MIDDLE_UM = 3.0
"""The nucleus of the cell in the middle has a part this near to it."""
GLASS_DENSITY = 0.09
"""Summed density (R + G + B) below which nothing lies on the glass."""
NEAR_UM = 1.8
"""Stained matter this near to the nucleus is probably cytoplasm."""
FAR_UM = 5.0
"""Cytoplasm reaches no further from the hull of the nucleus."""
OPENING_PX = 11
"""Bridges to neighbours thinner than this are cut."""
ROUNDS = 2
"""Of GrabCut."""
SOFT_PX = 1.2
"""Sigma with which the outline is softened."""
BRIGHT_PERCENT = 92
"""Percentile of a crop's pixels that is its empty background."""
MOST_OFF_UM = 2.0
"""A cell whose centroid lies further from the crop's middle is one of several, or half a cell."""
LEAST_SOLID = 0.88
"""Least area of a cell as a share of its convex hull."""
MOST_RIM = 0.10
"""Most of a cell's outline that may lie where the crop ends, as a share."""


@dataclass(frozen=True)
class CutCell:
    """A cell without its background, at 0.25 µm/px; the middle pixel is its centroid.

    Attributes:
        share: light that comes through relative to the crop's own background, uint8
            ``[n, n, 3]``, 255 = all.
        mask: 255 inside, soft at the outline, uint8 ``[n, n]``.
        radius_um: of a circle as large.
        off_um: from the middle of the crop to the centroid.
        clean: whether the outline is plausibly that of one whole cell.
    """

    share: Image
    mask: Image
    radius_um: float
    off_um: float
    clean: bool


def cut_out(crop: Image) -> CutCell:
    """The cell in the middle of a crop.

    GrabCut (Rother et al. 2004) on nuclear stain, density and distance from the nucleus. The
    stain is clipped at a level that cytoplasm reaches, so that the edge of the nucleus, the
    sharpest there is, is none for it.

    Args:
        crop: RGB uint8 ``[H, W, 3]`` at 0.25 µm/px, the whole cell in the centre.
    """
    background = np.percentile(crop.reshape(-1, 3), BRIGHT_PERCENT, axis=0).astype(np.float32)
    share = np.clip(crop.astype(np.float32) / np.maximum(background, 1), 0.01, 1.0)
    mask = _mask(np.asarray(cv2.GaussianBlur(-np.log10(share), (0, 0), 1.0), np.float32))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), SOFT_PX)
    rows, columns = np.nonzero(mask)
    y, x = float(rows.mean()), float(columns.mean())
    off_um = float(np.hypot(y - (crop.shape[0] - 1) / 2, x - (crop.shape[1] - 1) / 2))
    off_um *= CROP_UM_PER_PX
    half = int(max(np.abs(rows - y).max(), np.abs(columns - x).max())) + round(3 * SOFT_PX) + 1
    window = (2 * half + 1, 2 * half + 1)
    area_um2 = float(mask.sum()) * CROP_UM_PER_PX**2
    return CutCell(
        _in_bytes(cv2.getRectSubPix(share.astype(np.float32), window, (x, y))),
        _in_bytes(_centred(soft, window, (x, y))),
        float(np.sqrt(area_um2 / np.pi)),
        off_um,
        off_um <= MOST_OFF_UM and _is_one_cell(mask),
    )


def _in_bytes(share: NDArray[Any]) -> Image:
    return np.asarray(np.rint(share * 255), np.uint8)


def _centred(mask: NDArray[Any], window: tuple[int, int], centre: tuple[float, float]) -> Field:
    """The mask around its centroid; unlike a picture it ends at the crop's border."""
    margin = window[0]
    padded = cv2.copyMakeBorder(mask, *(4 * (margin,)), cv2.BORDER_CONSTANT, value=0)
    at = centre[0] + margin, centre[1] + margin
    return np.asarray(cv2.getRectSubPix(padded, window, at), np.float32)


def _mask(density: Field) -> Mask:
    """The cell in the middle; a plain disc where none can be made out."""
    height, width = density.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) * CROP_UM_PER_PX
    reach = min(REACH_UM, (min(height, width) / 2 - 1) * CROP_UM_PER_PX)
    disc = np.asarray(away < 5.0, np.bool_)
    tissue = density.sum(2)
    stain = density[..., 0] + density[..., 1] - 2 * density[..., 2]
    level = max(0.22, 0.5 * float(np.percentile(stain[disc], 90)))
    nucleus = _nucleus(stain > level, away, reach)
    beyond = cv2.distanceTransform(1 - _hull(nucleus), cv2.DIST_L2, 5) * CROP_UM_PER_PX
    guess = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    stained = tissue > GLASS_DENSITY + 0.03
    guess[(beyond < NEAR_UM) & (away < 8) & stained] = cv2.GC_PR_FGD
    guess[((beyond < 0.8) & stained) | ((nucleus > 0) & (away < 8))] = cv2.GC_FGD
    guess[tissue < GLASS_DENSITY] = cv2.GC_BGD
    guess[(away > reach) | (beyond > FAR_UM) | (away + beyond / 2 > 12)] = cv2.GC_BGD
    seen = np.dstack(
        [
            np.clip(stain, -0.2, 0.6 * level) * 300 + 90,
            np.minimum(tissue, 0.45) * 260,
            np.minimum(beyond, FAR_UM) * 30,
        ]
    )
    cv2.setRNGSeed(0)  # GrabCut begins with clusters drawn by chance
    try:
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(
            np.clip(seen, 0, 255).astype(np.uint8),
            guess, (0, 0, 0, 0), *models, ROUNDS, cv2.GC_INIT_WITH_MASK,
        )  # fmt: skip
    except cv2.error:  # nothing is surely cell, or nothing surely is not
        return disc
    found = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return _middle_piece(found.astype(np.uint8), away, disc)


def _nucleus(stained: Mask, away: NDArray[np.float64], reach_um: float) -> NDArray[np.uint8]:
    """Pieces of nuclear stain that come near the middle, 0 or 1; a small disc if there is none."""
    inside = (stained & (away < reach_um)).astype(np.uint8)
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, _disc(5))
    _, labels = cv2.connectedComponents(np.asarray(opened, np.uint8))
    near = np.unique(labels[away < MIDDLE_UM])
    nucleus = np.isin(labels, near[near > 0])
    return (nucleus if nucleus.sum() >= 40 else away < 2.5).astype(np.uint8)


def _hull(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros_like(mask)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.vstack(outlines)), 1)
    return hull


def _middle_piece(found: NDArray[np.uint8], away: NDArray[np.float64], disc: Mask) -> Mask:
    """The piece that covers most of the middle, without holes."""
    opened = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, _disc(OPENING_PX)), np.uint8)
    count, labels = cv2.connectedComponents(opened)
    pixels = np.bincount(labels[away < 4.0], minlength=count)
    pixels[0] = 0
    if not pixels.any():
        return disc
    piece = (labels == int(pixels.argmax())).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(piece, outlines, -1, (1,), cv2.FILLED) > 0, np.bool_)


def _is_one_cell(mask: Mask) -> bool:
    """Whether the outline is nearly convex and does not run along the end of the crop."""
    cell = mask.astype(np.uint8)
    solid = cell.sum() / max(1, int(_hull(cell).sum()))
    height, width = mask.shape
    edge = cell - cv2.erode(cell, np.ones((3, 3), np.uint8), borderValue=0)
    rows, columns = np.nonzero(edge)
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    reach = min(REACH_UM / CROP_UM_PER_PX, min(height, width) / 2 - 1) - 1.5
    return bool(solid >= LEAST_SOLID and np.mean(away >= reach) <= MOST_RIM)


def _disc(side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
