"""A whole slide as a frame source: fields of it, each with its place on the slide."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.errors import SourceError
from heme_edge.frames.base import CoreUm, Frame, SlidePlace
from heme_edge.frames.pyramid import open_pyramid
from heme_edge.frames.where_to_look import Choice, Core, choose

MARGIN_UM = 42.0
"""Around a field's own part, so that its largest cells, and the crops of all, are seen whole."""


class WholeSlide:
    """Fields of a whole slide, where it can be read best first.

    Args:
        path: the slide.
        um_per_px: its scale, where the file does not tell it.
        cores: the fields to look at; chosen by an overview unless given.
        margin_um: shown around each of them.
        wanted: of ``SlidePlace.core_um``; fields for which it is False are passed over unread.

    Attributes:
        scale_source: ``slide`` or ``given``.
        um_per_px: scale of the frames.
        slide_um_per_px: scale of the slide's finest level.
        choice: what the overview found; without candidates when the fields were given.

    Raises:
        SourceError: no slide, damaged, of unknown scale, or without tissue.
        MissingExtraError: no package that reads slides is installed.
    """

    live = False

    def __init__(
        self,
        path: Path,
        um_per_px: float | None = None,
        *,
        cores: Iterable[Core] | None = None,
        margin_um: float = MARGIN_UM,
        wanted: Callable[[CoreUm], bool] = lambda _: True,
    ) -> None:
        self.name = f"slide {path.name}"
        self._slide = open_pyramid(path)
        try:
            self.slide_um_per_px, self.scale_source = self._scale(path, um_per_px)
            self._level = self._slide.level_for(CROP_UM_PER_PX / self.slide_um_per_px)
            self.um_per_px = self.slide_um_per_px * self._down
            self.choice = Choice([]) if cores is not None else self._choose(path)
        except SourceError:
            self._slide.close()
            raise
        self._margin_um, self._wanted = margin_um, wanted
        self._cores = self._chosen() if cores is None else iter(cores)
        self._lock = threading.Lock()
        self._closed = False
        self._captured = 0

    @property
    def captured(self) -> int:
        """Fields read so far."""
        return self._captured

    def read(self) -> Frame | None:
        """The next field; None at the end and after ``close``.

        Raises:
            SourceError: the slide is damaged there.
        """
        with self._lock:
            core = None if self._closed else next(filter(self._is_wanted, self._cores), None)
            if core is None:
                return None
            image, place = self._field(core)
            frame = Frame(image, self._captured, time.monotonic(), place=place)
            self._captured += 1
            return frame

    def close(self) -> None:
        """Closes the file; waits for a field that is being read."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._slide.close()

    @property
    def _down(self) -> float:
        return self._slide.downsamples[self._level]

    def _scale(self, path: Path, given: float | None) -> tuple[float, str]:
        if self._slide.um_per_px is not None:
            return self._slide.um_per_px, "slide"
        if given is not None:
            return given, "given"
        raise SourceError(f"{path} does not tell its scale.", "Give --um-per-px.")

    def _choose(self, path: Path) -> Choice:
        choice = choose(self._slide, self.slide_um_per_px)
        if not choice.candidates:
            raise SourceError(f"{path} shows no tissue.", "Is it the right slide?")
        return choice

    def _chosen(self) -> Iterator[Core]:
        return self.choice.best_first(self._slide, self.slide_um_per_px)

    def _is_wanted(self, core: Core) -> bool:
        return self._wanted(self._core_um(core))

    def _core_um(self, core: Core) -> CoreUm:
        """The edges of a field, half a px outside the centres of its outermost px."""
        left, top, right, bottom = ((n - 0.5) * self.slide_um_per_px for n in core)
        return left, top, right, bottom

    def _field(self, core: Core) -> tuple[Image, SlidePlace]:
        """A field with its margin, cut at the slide's border; begins on a pixel of the level."""
        down, scale = self._down, self.slide_um_per_px
        margin = self._margin_um / scale
        level_size = self._slide.level_sizes[self._level]
        first = [max(0, int((n - margin) / down)) for n in core[:2]]
        last = [
            min(side, int((n + margin) / down))
            for n, side in zip(core[2:], level_size, strict=True)
        ]
        x, y = (round(n * down) for n in first)
        image = self._slide.read(x, y, self._level, (last[0] - first[0], last[1] - first[1]))
        half = (down - 1) / 2
        at = (x + half) * scale, (y + half) * scale
        return image, SlidePlace(*at, self._core_um(core))
