"""Which layers stay in floating point, and which ranges are taken: by measured agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
Write = Callable[[frozenset[str]], Path]
"""Writes a file in which the named layers stay in floating point, and says where it is."""
Judge = Callable[[Path, int], Probabilities]
"""What a file says of the first crops of role ``confidence``, so many of them."""

RANKING_CROPS = 256
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Difference:
    """How two tables of probabilities ``[N, C]`` of the same crops differ.

    Attributes:
        agreement: share of crops with the same most probable class.
        largest, mean: of |Δp| over all crops and classes.
    """

    agreement: float
    largest: float
    mean: float


@dataclass(frozen=True)
class Choice:
    """A file's float layers, what was measured with them, and the ranking if there was one."""

    float_layers: tuple[str, ...]
    probabilities: Probabilities
    ranking: tuple[str, ...] = ()


def difference(probabilities: Probabilities, expected: Probabilities) -> Difference:
    """How far ``probabilities`` are from ``expected``."""
    gap = np.abs(probabilities - expected)
    same = probabilities.argmax(1) == expected.argmax(1)
    return Difference(float(same.mean()), float(gap.max()), float(gap.mean()))


def fewest_float_layers(
    layers: Sequence[str],
    write: Write,
    judge: Judge,
    expected: Probabilities,
    holds: Callable[[Probabilities], bool],
    ranking: Sequence[str] = (),
) -> Choice:
    """Gives the most sensitive layers back to floating point until the file holds.

    Args:
        layers: names of all layers, from the crops to the classifier.
        write: makes the file.
        judge: runs it.
        expected: what the fp32 file says, ``[N, C]``.
        holds: whether what the file says is near enough.
        ranking: layers by sensitivity where it is known; else it is measured when needed.

    Returns:
        the first that holds; with every layer in floating point, what there is.
    """
    for wanted in (0, *STEPS, len(layers)):
        if wanted and not ranking:
            ranking = rank(layers, write, judge, expected)
        chosen = tuple(ranking[:wanted])
        probabilities = judge(write(frozenset(chosen)), len(expected))
        if holds(probabilities) or wanted >= len(layers):
            break
    return Choice(chosen, probabilities, tuple(ranking))


def rank(
    layers: Sequence[str], write: Write, judge: Judge, expected: Probabilities
) -> tuple[str, ...]:
    """Layers by what each of them loses alone, all others in floating point; the worst first."""
    few = expected[:RANKING_CROPS]
    lost = {
        layer: difference(judge(write(others), len(few)), few).mean
        for layer, others in _one_by_one(layers)
    }
    return tuple(sorted(layers, key=lambda layer: -lost[layer]))


def _one_by_one(layers: Sequence[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for layer in layers:
        yield layer, frozenset(layers) - {layer}
