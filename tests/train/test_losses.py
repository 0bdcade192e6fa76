"""What is minimised, by hand."""

import math

import numpy as np
import pytest
import torch

from heme_edge.errors import HemeError
from heme_train.data import NUCLEATED, Crop
from heme_train.losses import (
    UNTOLD,
    distillation_loss,
    sigmoid_loss,
    softmax_loss,
    source_bias,
)
from heme_train.recipe import Recipe

NUCLEI = torch.tensor([True, True, False])


def rows(*codes_and_sources: tuple[str, str]) -> list[Crop]:
    return [Crop(f"{i}.png", c, f"g{i}", s, "fold0") for i, (c, s) in enumerate(codes_and_sources)]


def test_told_and_untold_cells() -> None:
    """An untold cell costs -ln of what its nucleated classes sum to."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]))
    loss = softmax_loss(logits, torch.tensor([0, UNTOLD]), NUCLEI, 0.0)
    assert float(loss) == pytest.approx(-math.log(0.5) - math.log(0.4))
    only = softmax_loss(logits[1:], torch.tensor([UNTOLD]), NUCLEI, 0.0)
    assert float(only) == pytest.approx(-math.log(0.4))


def test_sigmoids_against_one_hot() -> None:
    p = np.array([0.9, 0.2, 0.3])
    logits = torch.from_numpy(np.log(p / (1 - p)))[None]
    loss = sigmoid_loss(logits, torch.tensor([0]), NUCLEI)
    by_hand = -(math.log(0.9) + math.log(0.8) + math.log(0.7)) / 3
    assert float(loss) == pytest.approx(by_hand)
    untold = sigmoid_loss(logits, torch.tensor([UNTOLD]), NUCLEI)
    assert float(untold) == pytest.approx(-math.log(1.1 / 1.4))


def test_distillation_is_zero_for_a_student_like_its_teacher() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1]])
    assert float(distillation_loss(torch.log(p), p, 2.0)) == pytest.approx(0.0, abs=1e-6)
    other = distillation_loss(torch.log(p.flip(1)), p, 1.0)
    by_hand = 0.7 * math.log(0.7 / 0.1) + 0.1 * math.log(0.1 / 0.7)
    assert float(other) == pytest.approx(by_hand, abs=1e-5)


def test_source_bias_is_how_often_a_source_shows_a_class() -> None:
    training = rows(("M1", "a"), ("L2", "a"), ("L2", "b"), (NUCLEATED, "c"))
    codes, sources = ["L2", "M1", "U1"], ["a", "b", "c"]
    bias = source_bias(training, codes, sources, np.array([True, True, False]), 0.9)
    shares = np.exp(bias) / np.exp(bias).sum(axis=1, keepdims=True)
    assert shares[1] == pytest.approx([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3], abs=1e-6)
    assert shares[2] == pytest.approx([0.45 + 0.1 / 3, 0.45 + 0.1 / 3, 0.1 / 3], abs=1e-6)
    assert shares[0][1] > shares[0][0] > shares[0][2]
    assert not source_bias(training, codes, sources, np.ones(3, bool), 0.0).any()


def test_what_only_a_softmax_has() -> None:
    with pytest.raises(HemeError, match="sigmoid head"):
        Recipe(head="sigmoid", source_prior=0.5)
