"""Why a live frame is not used: a word from a fixed list, and a value for the focus bar.

Cheap enough for every frame (about 1 ms for 1280x960 px). What can be read where in a field is
`heme_edge.field_score`'s to say, of the frames that are used.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_edge.field_score import (
    BLACK,
    EMPTY,
    INNER_PX,
    MAX_BLUR_UM,
    MIN_BRIGHT,
    MIN_CONTRAST,
    OUT_OF_FOCUS,
    OUTER_PX,
    SATURATED,
    SATURATED_BRIGHT,
    TOO_THICK,
    at_share,
    contrast,
    edge_blur_um,
    inner_part,
    is_heap,
    levels_of,
    steepness,
)
from heme_edge.stage.placement import LOST, Placement

if TYPE_CHECKING:
    from heme_edge.crops import Image
    from heme_edge.detect.field_of_view import Mask

MOVING, NOT_PLACED = "moving", "not-placed"
REASONS = (BLACK, SATURATED, EMPTY, TOO_THICK, MOVING, OUT_OF_FOCUS, NOT_PLACED)
"""Every reason there is, in the order in which they are asked; a used frame has none ("")."""

ALLOWED_UM = 0.6
"""Blur (sigma) that a frame may have beyond that of the sharpest in this scene."""
SMEAR_UM, SMEAR_SHARE = 0.6, 0.5
"""A frame is smeared where its edges are blurred by so much more across than along one way: by a
move of 2 µm while the shutter was open; and by this share of its blur, which chance can make."""
WEAK, STRAIGHT = 0.2, 0.92
"""An edge is looked at from this share of the steepest; it runs one way within about 23°."""
MOVING_UM = 0.5
"""The stage moves when it is so far from where it was in the frame before."""
SUSPECT = 0.85
"""Focus below which a smear is looked for: one of 2 µm leaves 0.75."""
SCENE = 600
"""Frames by which the sharpest is known."""
BEST_PERCENTILE = 20
"""The sharpest is this percentile of them: a single frame says little."""
LOOK_PX = 60_000
"""Light is judged on about so many px of a frame."""
VIEW_EVERY = 30
"""Frames after which the round field of an eyepiece is looked for again."""
TILE_UM, TILES, LEAST_TILE_PX = 60.0, 2, 24
"""Focus is judged on so many squares, those of the frame with most contrast."""


@dataclass(frozen=True)
class Look:
    """What a frame shows by itself.

    Attributes:
        reason: why it is not used, of ``REASONS``; empty where it is.
        focus: 1 as sharp as the sharpest of this scene, 0.5 where it is not used any more,
            towards 0 without an end; 0 where there is nothing to judge it by.
        blur_um: sigma of the blur; NaN where there is nothing to judge it by.
        smear_um: how much more it is in one direction; 0 of a frame of good focus.
    """

    reason: str
    focus: float
    blur_um: float = float("nan")
    smear_um: float = 0.0

    @property
    def sharp(self) -> bool:
        """Whether cells can be named from it."""
        return not self.reason


class Gates:
    """Judges the frames of one camera, in their order.

    Args:
        um_per_px: scale of the frames.
    """

    def __init__(self, um_per_px: float) -> None:
        self._um_per_px = um_per_px
        self._blurs: deque[float] = deque(maxlen=SCENE)
        self._view: Mask | None = None
        self._looks = 0

    def look(self, image: Image) -> Look:
        """Judges light, thickness and focus of a frame, RGB uint8 ``[H, W, 3]``."""
        step = max(1, round((image.shape[0] * image.shape[1] / LOOK_PX) ** 0.5))
        small = image[::step, ::step]
        green, view = np.ascontiguousarray(small[..., 1]), self._field_of_view(small)
        reason = _light(levels_of(green, view))
        if reason and reason != TOO_THICK:
            return Look(reason, 0.0)
        tiles = _tiles(image[..., 1], green, view, round(TILE_UM / self._um_per_px), step)
        if not tiles:
            return Look(reason, 0.0)
        edges = _strong_edges([_slopes(tile, self._um_per_px) for tile in tiles])
        blur_um = edge_blur_um(edges.steep, edges.softer)
        focus, sharp = self._compare(blur_um)
        smear_um = _smear_um(edges) if focus < SUSPECT else 0.0
        smeared = smear_um >= max(SMEAR_UM, SMEAR_SHARE * blur_um)
        if not reason and (smeared or not sharp):
            reason = MOVING if smeared else OUT_OF_FOCUS
        return Look(reason, focus, blur_um, smear_um)

    def reason(self, look: Look, placement: Placement) -> str:
        """Why the frame is not used, with what its place tells; empty where it is used."""
        moved = placement.state == LOST or placement.moving_um >= MOVING_UM
        if look.reason == MOVING and not moved:
            return OUT_OF_FOCUS
        return look.reason or (NOT_PLACED if placement.state == LOST else "")

    def _field_of_view(self, small: Image) -> Mask:
        from heme_edge.detect.field_of_view import field_of_view

        stale = self._view is None or self._view.shape != small.shape[:2]
        if self._view is None or stale or self._looks % VIEW_EVERY == 0:
            self._view = inner_part(field_of_view(small))
        self._looks += 1
        return self._view

    def _compare(self, blur_um: float) -> tuple[float, bool]:
        """Focus, and whether the frame is sharp: Gaussian blurs add as their squares do."""
        self._blurs.append(blur_um)
        best = min(float(np.percentile(self._blurs, BEST_PERCENTILE)), MAX_BLUR_UM)
        beyond = max(0.0, blur_um**2 - best**2) / ALLOWED_UM**2
        return 1 / (1 + beyond), beyond <= 1 and blur_um <= max(MAX_BLUR_UM, best)


def _light(levels: NDArray[np.float64]) -> str:
    """``black``, ``saturated``, ``empty``, ``too-thick`` or nothing, by the levels in view."""
    glass = at_share(levels, 0.97)
    if at_share(levels, 0.95) < MIN_BRIGHT:
        return BLACK
    if contrast(levels) < MIN_CONTRAST:
        return SATURATED if glass >= SATURATED_BRIGHT else EMPTY
    return TOO_THICK if is_heap(levels, float(glass)) else ""


def _tiles(
    green: NDArray[np.uint8], small: NDArray[np.uint8], view: Mask, side: int, step: int
) -> list[NDArray[np.uint8]]:
    """The squares of most contrast that are wholly in view."""
    import cv2

    side = min(side, *green.shape)
    if side < LEAST_TILE_PX:
        return []
    corners = [
        (y, x)
        for y in range(0, green.shape[0] - side + 1, side)
        for x in range(0, green.shape[1] - side + 1, side)
    ]
    windows = [tuple(slice(v // step, (v + side) // step) for v in at) for at in corners]
    spread = [float(cv2.meanStdDev(small[w])[1][0, 0]) if view[w].all() else 0.0 for w in windows]
    order = np.argsort(spread)[::-1][:TILES]
    return [
        green[corners[k][0] : corners[k][0] + side, corners[k][1] : corners[k][1] + side]
        for k in order
        if spread[k] > 0
    ]


@dataclass(frozen=True)
class _Edges:
    """The edges of a frame, one value for each pixel on one, ``[n]``.

    Attributes:
        x, y: slope after the smaller blur.
        steep, softer: steepness after the smaller and after the larger blur.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    steep: NDArray[np.float32]
    softer: NDArray[np.float32]


def _strong_edges(parts: list[tuple[NDArray[np.float32], ...]]) -> _Edges:
    x, y, softer = (np.concatenate([part[k].ravel() for part in parts]) for k in range(3))
    square = x * x + y * y
    edges = np.flatnonzero(square >= np.float32(WEAK**2) * square.max())
    return _Edges(x[edges], y[edges], np.sqrt(square[edges]), softer[edges])


def _smear_um(edges: _Edges) -> float:
    """How much more the edges across one direction are blurred than those along it, sigma."""
    x, y, half = edges.x, edges.y, np.float32(0.5**0.5)
    squares = []
    for slope in (x, y, (x + y) * half, (x - y) * half):
        across = abs(slope) > np.float32(STRAIGHT) * edges.steep
        squares.append(edge_blur_um(edges.steep[across], edges.softer[across]) ** 2)
    return float(max(abs(squares[0] - squares[1]), abs(squares[2] - squares[3])) ** 0.5)


def _slopes(
    tile: NDArray[np.uint8], um_per_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Slope in x and in y after the smaller blur, steepness after the larger, at 0.5 µm/px."""
    import cv2

    from heme_edge.detect.working_scale import WORKING_UM_PER_PX

    scale = um_per_px / WORKING_UM_PER_PX
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(tile, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    soft = cv2.GaussianBlur(small.astype(np.float32), (0, 0), INNER_PX)
    x, y = (cv2.Sobel(soft, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    return np.asarray(x, np.float32), np.asarray(y, np.float32), steepness(small, OUTER_PX)
