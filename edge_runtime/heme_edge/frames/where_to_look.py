"""Choosing where to look on a whole slide: monolayer rich in nucleated cells first.

A coarse overview tells where anything lies on the glass, where it is a heap, and where it is rich
in nuclear stain. From the best of those on, rounds of fields are scored at full resolution with
the score that photos and cameras get; the readable ones of a round come best first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.field_score import HEAP_DENSITY, score_field

if TYPE_CHECKING:
    from heme_edge.frames.pyramid import Pyramid

OVERVIEW_UM_PER_PX = 8.0
STRIP_PX = 1 << 24
"""The overview is read in strips of at most so many px."""
CORE_UM = 256.0
"""Side of the part of a field whose cells are its own."""
TISSUE_DENSITY, TISSUE_SHARE = 0.05, 0.05
"""A field shows tissue when so much of its overview has at least this red + green density."""
ROUND = 48
"""Fields that are scored together."""

Core = tuple[int, int, int, int]
"""Left, top, right and bottom of a field, px of the finest level; right and bottom are outside."""


@dataclass(frozen=True)
class Candidate:
    """A field with tissue, and how promising its overview is (more is better)."""

    core: Core
    promise: float


@dataclass
class Choice:
    """The fields of a slide in the order in which to look at them.

    Attributes:
        candidates: fields with tissue, the most promising first.
        glass: green of bare glass, 0..255; None when there was no overview.
        passed_over: fields that were looked at and cannot be read, by verdict.
    """

    candidates: list[Candidate]
    glass: float | None = None
    passed_over: Counter[str] = field(default_factory=Counter)

    def best_first(self, slide: Pyramid, um_per_px: float) -> Iterator[Core]:
        """Readable fields, the best of each round first; the same slide gives the same order.

        Args:
            slide: what to look at.
            um_per_px: scale of its finest level.

        Raises:
            SourceError: the slide is damaged.
        """
        rest = iter(self.candidates)
        while some := list(islice(rest, ROUND)):
            ranked = [(self._rank(slide, one.core, um_per_px), one.core) for one in some]
            yield from (core for rank, core in sorted(ranked, reverse=True) if rank >= 0)

    def _rank(self, slide: Pyramid, core: Core, um_per_px: float) -> float:
        """The score's rank of a field; -1 for one that cannot be read."""
        level = slide.level_for(0.5 / um_per_px)
        down = slide.downsamples[level]
        size = round((core[2] - core[0]) / down), round((core[3] - core[1]) / down)
        image = slide.read(core[0], core[1], level, size)
        score = score_field(image, um_per_px * down, glass=self.glass)
        if not score.readable:
            self.passed_over[score.verdict] += 1
            return -1.0
        return score.rank


def choose(slide: Pyramid, um_per_px: float) -> Choice:
    """Looks over a slide; the choice has no candidates when there is no tissue.

    Raises:
        SourceError: the slide is damaged.
    """
    factor = max(1.0, OVERVIEW_UM_PER_PX / um_per_px)
    view = overview(slide, factor)
    glass, density, green, nuclear = _densities(view)
    found = []
    for core in cores(slide.size, CORE_UM / um_per_px):
        box = _box(core, factor, view)
        if np.mean(density[box] > TISSUE_DENSITY) < TISSUE_SHARE:
            continue
        heap = float(green[box].mean())
        promise = float(nuclear[box].mean()) if heap < HEAP_DENSITY else -heap
        found.append(Candidate(core, promise))
    return Choice(sorted(found, key=lambda one: (-one.promise, one.core)), glass)


def cores(size: tuple[int, int], side: float) -> Iterator[Core]:
    """Fields that cover a slide without gap or overlap, evenly, about ``side`` px wide."""
    columns, rows = (max(1, round(n / side)) for n in size)
    xs = [round(size[0] * i / columns) for i in range(columns + 1)]
    ys = [round(size[1] * i / rows) for i in range(rows + 1)]
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            yield left, top, right, bottom


def overview(slide: Pyramid, factor: float) -> Image:
    """The whole slide shrunk by about ``factor`` from its finest level, RGB ``[H, W, 3]``."""
    import cv2

    level = slide.level_for(factor)
    width, height = slide.level_sizes[level]
    out_w, out_h = (max(1, round(n / factor)) for n in slide.size)
    rows = max(1, min(out_h, int(STRIP_PX / width * out_h / height)))
    strips = []
    for top in range(0, out_h, rows):
        bottom = min(out_h, top + rows)
        first, last = top * height // out_h, max(bottom * height // out_h, 1)
        y = round(first * slide.size[1] / height)
        strip = slide.read(0, y, level, (width, last - first))
        strips.append(cv2.resize(strip, (out_w, bottom - top), interpolation=cv2.INTER_AREA))
    return np.asarray(np.concatenate(strips), np.uint8)


def _densities(
    view: Image,
) -> tuple[float, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Green of glass, and the red + green, green and nuclear densities of an overview."""
    from heme_edge.detect.stain import stain

    scanned = (view.min(axis=2) < 254) & (view.max(axis=2) > 2)
    if np.mean(scanned) < 0.01:
        scanned[:] = True
    colours = stain(view, scanned)
    glass = colours.white[1]
    green = -np.log10(np.maximum(view[..., 1], 4) / glass).astype(np.float32)
    green[~scanned] = 0.0
    return glass, colours.tissue, green, colours.nuclear


def _box(core: Core, factor: float, view: Image) -> tuple[slice, slice]:
    """The pixels of the overview that show a field, one at least."""
    height, width = view.shape[:2]
    left, top = min(int(core[0] / factor), width - 1), min(int(core[1] / factor), height - 1)
    right, bottom = max(left + 1, int(core[2] / factor)), max(top + 1, int(core[3] / factor))
    return slice(top, bottom), slice(left, right)
