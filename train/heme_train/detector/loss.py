"""What the detector's network is trained to keep small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from heme_train.detector.net import HEATS

RADIUS, OFFSET, THICK = 0.5, 0.5, 0.3
"""Weights beside the heats."""


def detection_loss(outputs: Tensor, target: Tensor) -> Tensor:
    """Focal loss of the heats (Law and Deng 2018, alpha 2, beta 4), L1 of ln radius and offsets
    around the centres, cross-entropy of "too thick"; heats and thickness by the cell.

    Args:
        outputs: of the network, ``[N, 6, h, w]``.
        target: ``[N, 8, h, w]`` of ``samples.target_of``.
    """
    heat = target[:, :HEATS]
    logits = outputs[:, :HEATS]
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    centre = (heat == 1.0).float()
    counts = target[:, 6:7]
    away = (1 - heat) ** 4 * p**2 * -torch.log(1 - p) * (1 - centre)
    at = (1 - p) ** 2 * -torch.log(p) * centre
    found = ((away + at) * counts).sum() / centre.sum().clamp(min=1)
    radius_counts, offset_counts = (target[:, 7] == 2).float(), (target[:, 7] >= 1).float()
    radius = (
        (outputs[:, 2] - target[:, 2]).abs() * radius_counts
    ).sum() / radius_counts.sum().clamp(min=1)
    off = (outputs[:, 3:5] - target[:, 3:5]).abs().sum(1)
    offset = (off * offset_counts).sum() / offset_counts.sum().clamp(min=1)
    thick = functional.binary_cross_entropy_with_logits(outputs[:, 5], target[:, 5])
    return found + RADIUS * radius + OFFSET * offset + THICK * thick


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp(min=1)
