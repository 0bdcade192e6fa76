"""How many layers stay in floating point: by measured agreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64)


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


def difference(probabilities: Probabilities, expected: Probabilities) -> Difference:
    """How far ``probabilities`` are from ``expected``."""
    gap = np.abs(probabilities - expected)
    same = probabilities.argmax(1) == expected.argmax(1)
    return Difference(float(same.mean()), float(gap.max()), float(gap.mean()))


def fewest_float_layers(
    most: int, said: Callable[[int], Probabilities], holds: Callable[[Probabilities], bool]
) -> tuple[int, Probabilities]:
    """Gives the first layers back to floating point, more and more, until the file holds.

    They are the most sensitive: they see few channels of very different range, and what they
    lose all others multiply. Sensitive layers picked out here and there agree no better and cost
    more in changes of format than the others gain, see ``docs/decisions.md``.

    Args:
        most: how many at most.
        said: makes the file with so many float layers and runs it on the judging crops.
        holds: whether what it says is near enough.

    Returns:
        how many it took, and what the file says then; ``most`` where nothing holds.
    """
    for wanted in (*(step for step in STEPS if step < most), most):
        probabilities = said(wanted)
        if holds(probabilities):
            break
    return wanted, probabilities
