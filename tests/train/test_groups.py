"""Joined groups say the same as those apart."""

import numpy as np
import pytest
import torch

from heme_train.groups import joined_groups, narrowed, widened


@pytest.mark.parametrize(
    ("shape", "groups", "joined"),
    [
        ((128, 4, 3, 3), 32, 4),
        ((256, 8, 3, 3), 32, 2),
        ((512, 16, 3, 3), 32, 1),
        ((64, 1, 3, 3), 64, 1),
        ((64, 64, 3, 3), 1, 1),
        ((64, 4, 3, 3), 32, 1),
        ((24, 4, 3, 3), 6, 1),
        ((36, 12, 3, 3), 3, 1),
    ],
)
def test_which_are_joined(shape: tuple[int, ...], groups: int, joined: int) -> None:
    """Not depthwise ones, nor where outputs are not as many, nor what does not come out even."""
    assert joined_groups(shape, groups) == joined


def test_joined_and_apart_again() -> None:
    weights = np.random.default_rng(0).normal(size=(32, 4, 3, 3)).astype(np.float32)
    wide = widened(weights, 8, 4)
    x = torch.randn(2, 32, 5, 5)
    apart = torch.nn.functional.conv2d(x, torch.from_numpy(weights), groups=8)
    together = torch.nn.functional.conv2d(x, torch.from_numpy(wide), groups=2)
    assert torch.allclose(apart, together, atol=1e-5)
    assert np.array_equal(narrowed(wide, 8, 4), weights)
