"""Nucleus shapes as discs along a curve: round, indented, band and lobed alike."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from heme_edge.sim.shapes import Disc

Rng = np.random.Generator


def _arc(bend_um: float, span: float, half_um: float, rng: Rng, ends: float = 1.0) -> list[Disc]:
    """Discs along an arc of radius ``bend_um``, ``span`` rad long; the ends ``ends`` as thick."""
    angles = np.linspace(-span / 2, span / 2, 13)
    uneven = np.interp(angles, np.linspace(-span / 2, span / 2, 4), rng.uniform(0.88, 1.1, 4))
    swell = 1 + (ends - 1) * np.abs(angles / (span / 2)) ** 2
    thick = half_um * uneven * swell
    middle = bend_um * np.sin(span / 2) / (span / 2)
    return [
        (float(bend_um * np.cos(a) - middle), float(bend_um * np.sin(a)), float(t))
        for a, t in zip(angles, thick, strict=True)
    ]


def _round(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    return [(0.0, 0.0, radius_um * float(np.sqrt(share)))]


def _oval(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """One flat side, as a myelocyte's."""
    half = radius_um * np.sqrt(share)
    return _arc(half * 1.1, rng.uniform(0.5, 0.9), half * 0.84, rng)


def _indented(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """Kidney or bean, indented by less than half of its width (metamyelocyte)."""
    half = radius_um * np.sqrt(share)
    return _arc(half * 0.66, rng.uniform(2.0, 2.7), half * 0.60, rng, ends=1.06)


def _folded(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """Large, folded or horseshoe (monocyte)."""
    half = radius_um * np.sqrt(share)
    span = rng.uniform(1.4, 3.6)
    discs = _arc(half * 0.62, span, half * 0.62, rng, ends=rng.uniform(0.9, 1.2))
    bump = rng.uniform(0, 2 * np.pi)
    away = half * 0.45
    return [*discs, (float(away * np.cos(bump)), float(away * np.sin(bump)), float(half * 0.5))]


def _band(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """A rod bent into a C or U of even width (band neutrophil)."""
    half = radius_um * np.sqrt(share)
    span = rng.uniform(3.3, 4.5)
    return _arc(half * 0.78, span, half * rng.uniform(0.31, 0.37), rng, ends=1.15)


def _lobes(count: int, radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """Lobes on an arc, joined by threads."""
    half = radius_um * np.sqrt(share)
    size = half * {2: 0.66, 3: 0.51, 4: 0.44}.get(count, 0.39)
    bend = half * {2: 0.74, 3: 0.72, 4: 0.78}.get(count, 0.84)
    step = min(2.1, (1.9 * np.pi - 1.0) / count) * (1.2 if count == 2 else 1.0)
    angles = (np.arange(count) - (count - 1) / 2) * step + rng.normal(0, 0.12, count)
    away = bend * rng.uniform(0.85, 1.1, count)
    points = np.stack([away * np.cos(angles), away * np.sin(angles)], 1)
    points -= points.mean(0) * 0.7
    discs: list[Disc] = []
    for x, y in points:
        discs += _lobe(float(x), float(y), float(size * rng.uniform(0.85, 1.12)), rng)
    for start, end in pairwise(points):
        discs += [(float(x), float(y), float(half * 0.14)) for x, y in np.linspace(start, end, 7)]
    return discs


def _lobe(x: float, y: float, size: float, rng: Rng) -> list[Disc]:
    """An oval lobe: three discs in a short row."""
    turn = rng.uniform(0, np.pi)
    shift = size * rng.uniform(0.1, 0.35)
    dx, dy = float(np.cos(turn) * shift), float(np.sin(turn) * shift)
    return [(x - dx, y - dy, size * 0.88), (x, y, size * 0.92), (x + dx, y + dy, size * 0.88)]


def _segmented(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    return _lobes(int(rng.choice([3, 4, 5], p=[0.5, 0.38, 0.12])), radius_um, share, rng)


def _bilobed(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    return _lobes(int(rng.choice([2, 3], p=[0.75, 0.25])), radius_um, share, rng)


def _many_lobed(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """One mass of many lobes (megakaryocyte)."""
    half = radius_um * np.sqrt(share)
    count = int(rng.integers(7, 13))
    angles = rng.uniform(0, 2 * np.pi, count)
    away = half * 0.72 * np.sqrt(rng.uniform(0, 1, count))
    sizes = half * rng.uniform(0.3, 0.5, count)
    return [
        (float(d * np.cos(a)), float(d * np.sin(a)), float(size))
        for d, a, size in zip(away, angles, sizes, strict=True)
    ]


def _plates(radius_um: float, share: float, rng: Rng) -> list[Disc]:
    """Chromosomes in one plate, or in two that part (mitosis)."""
    half = radius_um * np.sqrt(share)
    apart = half * float(rng.choice([0.0, rng.uniform(0.6, 1.0)]))
    line = np.linspace(-0.8 * half, 0.8 * half, 7)
    ragged = rng.uniform(0.2, 0.32, (2, line.size)) * half
    return [
        (float(side * apart), float(y), float(size))
        for side, sizes in zip((-1, 1), ragged, strict=True)
        for y, size in zip(line, sizes, strict=True)
    ]


SHAPES: dict[str, Callable[[float, float, Rng], list[Disc]]] = {
    "round": _round,
    "oval": _oval,
    "indented": _indented,
    "folded": _folded,
    "band": _band,
    "segmented": _segmented,
    "bilobed": _bilobed,
    "many-lobed": _many_lobed,
    "plates": _plates,
}
"""Each gives discs (µm, around the nucleus's own middle) for a cell radius in µm and the share
of the cell's disc that a full round nucleus of that size would cover."""
