"""Grouped convolutions with their groups joined, as the export writes them, and apart again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
WIDTH = 16
"""Channels that enter a joined group."""


def joined_groups(shape: Sequence[int], groups: int) -> int:
    """How many groups of weights ``[out, in / groups, h, w]`` are joined to one; 1 for none.

    Depthwise convolutions have fast kernels of their own and stay as they are.
    """
    outputs, width = shape[:2]
    joined = WIDTH // width
    alike = groups > 1 and width > 1 and outputs == groups * width and WIDTH % width == 0
    return joined if alike and joined > 1 and groups % joined == 0 else 1


def widened(weights: Weights, groups: int, joined: int) -> Weights:
    """Weights of ``groups / joined`` groups that say the same: zero between what was apart."""
    outputs, width = weights.shape[:2]
    wide = np.zeros((outputs, width * joined, *weights.shape[2:]), weights.dtype)
    for i, place in enumerate(_places(outputs, groups, joined)):
        wide[i, place * width : (place + 1) * width] = weights[i]
    return wide


def narrowed(wide: Weights, groups: int, joined: int) -> Weights:
    """The weights that ``widened`` was given."""
    width = wide.shape[1] // joined
    return np.stack(
        [
            wide[i, place * width : (place + 1) * width]
            for i, place in enumerate(_places(len(wide), groups, joined))
        ]
    )


def _places(outputs: int, groups: int, joined: int) -> list[int]:
    """For each output, which of the joined groups it was in."""
    return [i // (outputs // groups) % joined for i in range(outputs)]
