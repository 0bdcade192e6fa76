"""Places each frame of a stage that is moved by hand on the slide."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from heme_edge.crops import Image
from heme_edge.stage.keyframes import Keyframe, SlideMap, StillPattern, keyframe
from heme_edge.stage.phase import (
    COARSE,
    Offset,
    View,
    agrees_everywhere,
    match,
    match_coarsely,
    overlap_share,
    reduced,
    reduction,
    view_of,
)
from heme_edge.stage.placement import FOUND, LOST, NEW, TRACKING, Join, Placement

TRACKED = 0.4
"""Agreement from which a frame lies where it was expected."""
NEAREST = 2
"""Keyframes tried where the frame is expected."""
LEAST_OVERLAP = 0.2
"""A frame is placed by a keyframe of which it shows so much."""
FOUND_COARSE, FOUND_FINE, FOUND_PART = 0.2, 0.5, 0.3
"""Agreement, coarse, fine and of the parts, from which a place was found without a guess."""
NEXT_KEYFRAME, NEXT_SOFT = 0.6, 0.45
"""A frame that shows less of every keyframe becomes one; out of focus, only below the second."""
ANCHORS, ANCHOR_OVERLAP = 3, 0.25
"""A new keyframe is placed by so many around it, of which it shows so much."""
TRIES = 3
"""Keyframes tried for each frame that is lost, or whose patch is not joined to all others."""


@dataclass(frozen=True)
class _Seen:
    """The frame before; ``at`` is None where it was not placed."""

    view: View
    at: Offset | None
    captured_s: float | None


class StageTracker:
    """Places frames on the slide, one after another.

    A frame is placed by the keyframe of which it shows most, not by the frame before, so errors
    do not add up while the stage stays near; coming back, the old keyframes are used again. A
    jump starts a new patch, which is joined when it shows a place that is known.

    Args:
        um_per_px: scale of the frames.
        first_patch: number of the first new patch.
        known: keyframes of an earlier session, which are used where frames have their size. The
            first frame is looked for in all of them.

    Attributes:
        corrections_um: how far each of the newer keyframes was moved to agree with those around.
    """

    def __init__(
        self, um_per_px: float, first_patch: int = 0, known: tuple[Keyframe, ...] = ()
    ) -> None:
        self.corrections_um: deque[float] = deque(maxlen=1000)
        self._um_per_px = um_per_px
        self._shape: tuple[int, ...] = ()
        self._before: _Seen | None = None
        self._patches, self._known = first_patch, known
        self._begin((0, 0, 0), (0, 0))

    @property
    def patches(self) -> int:
        """Number of the next new patch."""
        return self._patches

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The map; another tuple after each change."""
        return self._map.keyframes

    def place(
        self, image: Image, captured_s: float | None = None, sharp: bool = True
    ) -> tuple[Placement, tuple[Join, ...]]:
        """Places the next frame; about 3 ms for 1280x960 px.

        Args:
            image: RGB uint8 ``[H, W, 3]``. After a change of size nothing is known any more.
            captured_s: when it was captured, seconds; by default frames are evenly spaced.
            sharp: whether it is in focus. One that is not is placed too, but is a keyframe only
                where there is no other.

        Returns:
            Its placement, and the patches that were found to join, in their order. The placement
            is in what they have become.
        """
        green = reduced(image)
        if green.shape != self._shape:
            self._begin(image.shape, green.shape)
        view = view_of(green, self._still.pattern)
        state, quality = self._locate(view, captured_s, sharp)
        moving_um = 0.0
        joins: tuple[Join, ...] = ()
        if state != LOST:
            moving_um = self._moved_um(state, captured_s)
            joins = self._join(view) if sharp else ()
            self._keep(view, green, sharp)
        at = None if state == LOST else self._at
        self._before = _Seen(view, at, captured_s)
        x_um, y_um = (side * self._px_um for side in self._at)
        return Placement(x_um, y_um, self._patch, quality, state, moving_um), joins

    def _begin(self, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Forgets everything but how many patches there were."""
        self._shape = shape
        self._px_um = self._um_per_px * reduction(size[1])
        known = tuple(key for key in self._known if key.levels.shape == shape)
        self._map, self._still = SlideMap(keyframes=known), StillPattern()
        self._to_try: deque[Keyframe] = deque()
        self._before = None
        self._at: Offset = (0.0, 0.0)
        self._speed: Offset = (0.0, 0.0)
        self._patch = self._patches

    def _locate(self, view: View, captured_s: float | None, sharp: bool) -> tuple[str, float]:
        """State and quality of the frame; its patch and place are set."""
        if self._before is None:
            return self._first(view)
        was_lost = self._before.at is None
        quality = self._track(view, captured_s)
        if quality is not None:
            return (FOUND if was_lost else TRACKING), quality
        if not was_lost:
            self._to_try.clear()
        if found := self._find(view, self._map.from_near_to_far(self._patch, self._at)):
            return self._found(*found)
        return self._begin_patch() if sharp and was_lost and self._follows(view) else (LOST, 0.0)

    def _first(self, view: View) -> tuple[str, float]:
        """The first frame of all: where an earlier session has been, or a new patch."""
        found = self._find(view, list(reversed(self._map.keyframes)), len(self._map))
        return self._found(*found) if found else self._begin_patch()

    def _found(self, key: Keyframe, at: Offset, quality: float) -> tuple[str, float]:
        self._patch, self._at = key.patch, at
        self._to_try.clear()
        return FOUND, quality

    def _begin_patch(self) -> tuple[str, float]:
        self._patch, self._at = self._patches, (0.0, 0.0)
        self._patches += 1
        self._to_try.clear()
        return NEW, 1.0

    def _track(self, view: View, captured_s: float | None) -> float | None:
        """Places the frame where it is expected, or as far from the frame before as it looks."""
        quality = self._by_keyframe(view, self._expected(captured_s))
        before = self._before
        if quality is not None or before is None or before.at is None:
            return quality
        step = match_coarsely(before.view.coarse, view.coarse)
        if step.agreement < FOUND_COARSE:
            return None
        return self._by_keyframe(view, _plus(before.at, step.offset, COARSE))

    def _expected(self, captured_s: float | None) -> Offset:
        before = self._before
        if before is None or before.at is None:
            return self._at
        return _plus(before.at, self._speed, _elapsed(before.captured_s, captured_s))

    def _by_keyframe(self, view: View, guess: Offset) -> float | None:
        """Places the frame by one of the keyframes it should show most of; their agreement."""
        for _share, key in self._map.near(self._patch, guess, LEAST_OVERLAP)[:NEAREST]:
            found = match(key.plane, view.plane, (guess[0] - key.x, guess[1] - key.y))
            if found is None or found.agreement < TRACKED:
                continue
            if overlap_share(found.offset, self._shape) >= LEAST_OVERLAP:
                self._at = _plus((key.x, key.y), found.offset)
                return found.agreement
        return None

    def _find(
        self, view: View, keyframes: list[Keyframe], tries: int = TRIES
    ) -> tuple[Keyframe, Offset, float] | None:
        """Looks for the frame, without a guess, in the next few keyframes.

        Returns:
            The keyframe that shows it, its place in that one's patch, and how well they agree.
        """
        self._to_try.extend([] if self._to_try else keyframes)
        for _ in range(min(tries, len(self._to_try))):
            key = self._to_try.popleft()
            rough = match_coarsely(key.coarse, view.coarse)
            if rough.agreement < FOUND_COARSE:
                continue
            plane = key.plane
            found = match(plane, view.plane, _plus((0.0, 0.0), rough.offset, COARSE))
            if found is None or found.agreement < FOUND_FINE:
                continue
            if overlap_share(found.offset, self._shape) >= LEAST_OVERLAP and agrees_everywhere(
                plane, view.plane, found.offset, FOUND_PART
            ):
                return key, _plus((key.x, key.y), found.offset), found.agreement
        return None

    def _follows(self, view: View) -> bool:
        """Whether the frame shows what the one before did, so that there is something to track."""
        if self._before is None:
            return False
        step = match_coarsely(self._before.view.coarse, view.coarse)
        guess = _plus((0.0, 0.0), step.offset, COARSE)
        found = match(self._before.view.plane, view.plane, guess)
        return found is not None and found.agreement >= FOUND_FINE

    def _moved_um(self, state: str, captured_s: float | None) -> float:
        """Distance from the frame before, which gives the speed for the next; 0 if not known."""
        before, self._speed = self._before, (0.0, 0.0)
        if state != TRACKING or before is None or before.at is None:
            return 0.0
        step = self._at[0] - before.at[0], self._at[1] - before.at[1]
        elapsed = _elapsed(before.captured_s, captured_s)
        self._speed = step[0] / elapsed, step[1] / elapsed
        return float(np.hypot(*step)) * self._px_um

    def _join(self, view: View) -> tuple[Join, ...]:
        """Joins the patch to another one, of which the frame shows a keyframe."""
        others = self._map.elsewhere(self._patch)
        found = self._find(view, others) if others else None
        if found is None:
            return ()
        key, at, _agreement = found
        shift = at[0] - self._at[0], at[1] - self._at[1]
        patch, into = self._patch, key.patch
        if into > patch:
            patch, into, shift = into, patch, (-shift[0], -shift[1])
        else:
            self._at = at
        self._map.join(patch, into, shift)
        self._to_try.clear()
        self._patch = into
        return (Join(patch, into, shift[0] * self._px_um, shift[1] * self._px_um),)

    def _keep(self, view: View, green: Image, sharp: bool) -> None:
        """Makes the frame a keyframe where there is none that shows nearly the same."""
        around = self._map.near(self._patch, self._at, ANCHOR_OVERLAP)
        shown = max((share for share, key in around if key.sharp or not sharp), default=0.0)
        if shown > (NEXT_KEYFRAME if sharp else NEXT_SOFT):
            return
        if sharp:
            self._anchor(view, [key for _share, key in around])
            self._still.add(green)
        self._map.add(keyframe(view, self._at, self._patch, sharp))

    def _anchor(self, view: View, around: list[Keyframe]) -> None:
        """Places the frame where the keyframes around it have it in the mean."""
        places = []
        for key in around[:ANCHORS]:
            guess = self._at[0] - key.x, self._at[1] - key.y
            found = match(key.plane, view.plane, guess)
            if found is not None and found.agreement >= FOUND_FINE:
                places.append(_plus((key.x, key.y), found.offset))
        if places:
            x, y = (float(side) for side in np.mean(places, 0))
            moved = np.hypot(x - self._at[0], y - self._at[1]) * self._px_um
            self.corrections_um.append(float(moved))
            self._at = x, y


def _plus(at: Offset, step: Offset, times: float = 1.0) -> Offset:
    return at[0] + times * step[0], at[1] + times * step[1]


def _elapsed(before_s: float | None, now_s: float | None) -> float:
    """Seconds between two frames, or 1 where their times are not known."""
    if before_s is None or now_s is None or now_s <= before_s:
        return 1.0
    return now_s - before_s
