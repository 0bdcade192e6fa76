"""The map of the slide: views at known places, by which a place is found again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.stage.phase import Offset, Plane, View, coarse_of

MOST = 400
"""Keyframes kept; with views of 320x240 px about 40 MB."""
STILL_FROM, STILL_OF, STILL_LEVEL = 8, 15, 0.75
"""What stands still on the sensor is this quantile of the last so many keyframes: bright enough
that no cells are in it, however dense the marrow."""
STILL_BLUR_PX = 2.0
"""Blur of it, px of the plane: its grain would be the one thing that blurred views share."""
GREY_STEP = 2
"""Grey levels of a view for one of a keyframe, which has eight bits."""


@dataclass(frozen=True)
class Keyframe:
    """A view kept at its place.

    Attributes:
        x, y: its first pixel in its patch, px of the plane.
        patch: number of its patch.
        sharp: whether it was in focus; one that was not gives way to one that is.
        levels: its plane in steps of ``GREY_STEP``, int8 ``[h, w]``.
        coarse: its coarse plane.
    """

    x: float
    y: float
    patch: int
    sharp: bool
    levels: NDArray[np.int8]
    coarse: Plane

    @property
    def plane(self) -> Plane:
        """As in `View`, to ``GREY_STEP``."""
        return np.multiply(self.levels, GREY_STEP, dtype=np.float32)

    def moved(self, patch: int, x: float, y: float) -> Keyframe:
        """The same, further by (x, y), in another patch."""
        return Keyframe(self.x + x, self.y + y, patch, self.sharp, self.levels, self.coarse)


def keyframe(view: View, at: Offset, patch: int, sharp: bool) -> Keyframe:
    """Keeps a view at a place."""
    levels = np.clip(np.rint(view.plane / GREY_STEP), -128, 127).astype(np.int8)
    return Keyframe(at[0], at[1], patch, sharp, levels, view.coarse)


def keyframe_again(levels: NDArray[np.int8], at: Offset, patch: int, sharp: bool) -> Keyframe:
    """A keyframe from what was kept of it, int8 ``[h, w]``."""
    plane = np.multiply(levels, GREY_STEP, dtype=np.float32)
    return Keyframe(at[0], at[1], patch, sharp, levels, coarse_of(plane))


class SlideMap:
    """Keyframes by patch and place; at most ``most``.

    Args:
        most: beyond it the keyframe that lies closest to another goes.
        keyframes: that are known already, all of one size.

    Attributes:
        keyframes: in the order in which they were added; another tuple after each change.
    """

    def __init__(self, most: int = MOST, keyframes: tuple[Keyframe, ...] = ()) -> None:
        self._most = most
        self.keyframes = keyframes
        self._index()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.keyframes)

    def __iter__(self) -> Iterator[Keyframe]:
        """In the order in which they were added."""
        return iter(self.keyframes)

    def near(self, patch: int, at: Offset, least: float = 0.0) -> list[tuple[float, Keyframe]]:
        """Keyframes of a patch that a view at a place overlaps by more than a share, most first."""
        if not self.keyframes:
            return []
        shares = self._shares(patch, at)
        order = np.argsort(-shares, kind="stable")
        return [(float(shares[k]), self.keyframes[k]) for k in order if shares[k] > least]

    def elsewhere(self, patch: int) -> list[Keyframe]:
        """Keyframes of all other patches, newest first."""
        return [k for k in reversed(self.keyframes) if k.patch != patch]

    def from_near_to_far(self, patch: int, at: Offset) -> list[Keyframe]:
        """All keyframes: those of a patch by distance from a place, then the others."""
        own = [k for k in self.keyframes if k.patch == patch]
        own.sort(key=lambda k: float(np.hypot(k.x - at[0], k.y - at[1])))
        return own + self.elsewhere(patch)

    def add(self, new: Keyframe) -> None:
        """Adds one; those out of focus that it shows as well go, and so does one too many."""
        kept = self.keyframes
        if new.sharp:
            shown = {id(k) for share, k in self.near(new.patch, (new.x, new.y), 0.5)}
            kept = tuple(k for k in kept if k.sharp or id(k) not in shown)
        self.keyframes = (*kept, new)
        self._index()
        if len(self.keyframes) > self._most:
            densest = self._densest()
            self.keyframes = self.keyframes[:densest] + self.keyframes[densest + 1 :]
            self._index()

    def join(self, patch: int, into: int, shift: Offset) -> None:
        """Makes the keyframes of a patch those of another one, further by ``shift`` px."""
        self.keyframes = tuple(
            k.moved(into, *shift) if k.patch == patch else k for k in self.keyframes
        )
        self._index()

    def _index(self) -> None:
        self._places = np.array([(k.x, k.y, k.patch) for k in self.keyframes]).reshape(-1, 3)

    def _shares(self, patch: int, at: Offset) -> NDArray[np.float64]:
        """Share of each keyframe that a view at a place shows; -1 in other patches."""
        size = self.keyframes[0].levels.shape[::-1]
        room = np.maximum(0, 1 - np.abs(self._places[:, :2] - at) / size)
        return np.where(self._places[:, 2] == patch, room.prod(1), -1.0)

    def _densest(self) -> int:
        """The keyframe most of which another one shows; the newest is kept."""
        most, densest = -1.0, 0
        for k, one in enumerate(self.keyframes[:-1]):
            shares = self._shares(one.patch, (one.x, one.y))
            shares[k] = -1.0
            if shares.max() > most:
                most, densest = float(shares.max()), k
        return densest


class StillPattern:
    """What every view shows alike: dirt on the sensor, fall-off of light.

    Attributes:
        pattern: uint8 ``[h, w]``, or None while too little was seen.
    """

    def __init__(self) -> None:
        self.pattern: Image | None = None
        self._greens: list[Image] = []

    def add(self, green: Image) -> None:
        """Takes in a reduced frame that shows another place than the ones before."""
        self._greens = [*self._greens[1 - STILL_OF :], green]
        if len(self._greens) >= STILL_FROM:
            level = int(len(self._greens) * STILL_LEVEL)
            bright = np.partition(np.stack(self._greens), level, axis=0)[level]
            self.pattern = np.asarray(cv2.GaussianBlur(bright, (0, 0), STILL_BLUR_PX), np.uint8)
