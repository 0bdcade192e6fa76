"""What the networks learn to minimise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import cell_class
from heme_train.data import NUCLEATED, Crop, draw_weights
from heme_train.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNTOLD = -1
"""Target of a nucleated cell whose class nobody told."""
LEAST_PRIOR = 1e-4


@dataclass(frozen=True)
class Loss:
    """The recipe's loss over one batch, as a sum over its crops.

    Attributes:
        recipe: head, smoothing and the teacher's part.
        nucleated: bool ``[C]``, the classes an untold cell may have.
        bias: ``[S, C]`` added to the logits of a crop of source s, see ``source_bias``.
    """

    recipe: Recipe
    nucleated: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> Loss:
        """The loss with its tables on a device."""
        return replace(self, nucleated=self.nucleated.to(device), bias=self.bias.to(device))

    def __call__(
        self, logits: Tensor, wanted: Tensor, sources: Tensor, teacher: Tensor | None = None
    ) -> Tensor:
        """The loss.

        Args:
            logits: ``[N, C]``.
            wanted: class index ``[N]``, or ``UNTOLD``.
            sources: source index ``[N]``.
            teacher: probabilities ``[N, C]`` of a teacher that has not seen these crops.
        """
        if self.recipe.head == "sigmoid":
            return sigmoid_loss(logits, wanted, self.nucleated)
        own = softmax_loss(
            logits + self.bias[sources], wanted, self.nucleated, self.recipe.smoothing
        )
        if teacher is None:
            return own
        share, warmth = self.recipe.teacher_share, self.recipe.teacher_temperature
        return (1 - share) * own + share * distillation_loss(logits, teacher, warmth)


def loss_for(
    recipe: Recipe, codes: Sequence[str], sources: Sequence[str], training: list[Crop]
) -> Loss:
    """The loss of a recipe for these classes and sources."""
    import torch

    nucleated = np.array([cell_class(c).in_differential for c in codes])
    bias = source_bias(training, codes, sources, nucleated, recipe.source_prior)
    return Loss(recipe, torch.from_numpy(nucleated), torch.from_numpy(bias))


def source_bias(
    training: list[Crop],
    codes: Sequence[str],
    sources: Sequence[str],
    nucleated: NDArray[np.bool_],
    prior: float,
) -> NDArray[np.float32]:
    """ln of how often each source shows each class, ``[S, C]``: what a crop's source gives away.

    A class that only one laboratory has labelled can be told by that laboratory's look, and then
    is not found in a third one. Added to the logits in training and left out afterwards, this
    bias pays for what the source alone tells, so that the network need not learn it (logit
    adjustment, Menon et al. 2021, with one prior per source).

    Args:
        training: the crops drawn from.
        codes, sources: what the axes stand for.
        nucleated: bool ``[C]``; crops of untold class are spread over these.
        prior: 0 gives zeros, 1 the sources' own shares (``LEAST_PRIOR`` at least).
    """
    shares = np.zeros((len(sources), len(codes)))
    cells = [c for c in training if c.code in codes or c.code == NUCLEATED]
    for crop, weight in zip(cells, draw_weights(cells), strict=True):
        row = shares[sources.index(crop.source)]
        if crop.code == NUCLEATED:
            row[nucleated] += weight / max(1, int(nucleated.sum()))
        else:
            row[codes.index(crop.code)] += weight
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    mixed = prior * shares + (1.0 - prior) / len(codes)
    bias = np.log(np.maximum(mixed, LEAST_PRIOR))
    return np.asarray(bias - bias.max(axis=1, keepdims=True), np.float32)


def softmax_loss(logits: Tensor, wanted: Tensor, nucleated: Tensor, smoothing: float) -> Tensor:
    """Summed cross-entropy; a cell of untold class asks only for the sum over nucleated classes.

    Args:
        logits: ``[N, C]``.
        wanted: class index ``[N]``, or ``UNTOLD``.
        nucleated: bool ``[C]``, the classes an untold cell may have.
        smoothing: label smoothing of the told ones.
    """
    import torch

    told = wanted != UNTOLD
    total = torch.nn.functional.cross_entropy(
        logits[told], wanted[told], label_smoothing=smoothing, reduction="sum"
    )
    log_p = torch.log_softmax(logits[~told], 1)
    return total - torch.logsumexp(log_p[:, nucleated], 1).sum()


def sigmoid_loss(logits: Tensor, wanted: Tensor, nucleated: Tensor) -> Tensor:
    """Summed one-hot binary cross-entropy, averaged over the classes, as DeepHeme's code has it.

    A cell of untold class costs -ln of the nucleated classes' part of the summed sigmoids.
    """
    import torch

    told = wanted != UNTOLD
    wanted_rows = torch.nn.functional.one_hot(wanted[told], logits.shape[1]).to(logits.dtype)
    total = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[told], wanted_rows, reduction="sum"
    )
    log_p = torch.nn.functional.logsigmoid(logits[~told])
    part = torch.logsumexp(log_p[:, nucleated], 1) - torch.logsumexp(log_p, 1)
    return total / logits.shape[1] - part.sum()


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Summed KL(teacher || student) of both at ``temperature``, times its square (Hinton 2015)."""
    import torch

    warm = torch.softmax(torch.log(teacher.clamp(min=1e-6)) / temperature, 1)
    student = torch.log_softmax(logits / temperature, 1)
    divergence = torch.nn.functional.kl_div(student, warm, reduction="sum")
    return divergence * temperature**2
