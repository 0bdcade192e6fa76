"""How an epoch did on the held-out fold, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heme_calibration.confidence import ensemble_probabilities, negative_log_likelihood
from heme_train.augment import centre
from heme_train.data import Crop, CropSet
from heme_train.state import State

if TYPE_CHECKING:
    from torch import Tensor, nn


def judge(state: State, crops: CropSet, rows: list[Crop], mean_loss: float) -> None:
    """Adds the epoch to the history; keeps the best weights when the recipe stops early."""
    row: dict[str, float | None] = {"epoch": state.epoch, "loss": mean_loss}
    row |= {"held_out_loss": None, "held_out_accuracy": None}
    recipe = state.recipe
    if rows and (recipe.patience or state.epoch == recipe.epochs) and state.team.first:
        row |= _held_out(state, crops, rows)
    row = state.team.agreed(row)
    state.history.append(row)
    if recipe.patience and _best_epoch(state) == state.epoch:
        state.best = state.averaged()


def _held_out(state: State, crops: CropSet, rows: list[Crop]) -> dict[str, float | None]:
    network: nn.Module = state.average.module.eval()
    logits = predict(network, state.inputs, crops, rows)
    truth = np.array([state.codes.index(c.code) for c in rows])
    probabilities = ensemble_probabilities(logits[None], 1.0, state.recipe.head)
    return {
        "held_out_loss": negative_log_likelihood(probabilities, truth),
        "held_out_accuracy": float((probabilities.argmax(1) == truth).mean()),
    }


def _best_epoch(state: State) -> int:
    losses = [row["held_out_loss"] for row in state.history]
    return 1 + min(range(len(losses)), key=lambda i: _or_worst(losses[i]))


def _or_worst(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss


def stops_early(state: State) -> bool:
    """Whether the held-out loss has not improved for as long as the recipe waits."""
    patience = state.recipe.patience
    return bool(patience and state.history and state.epoch - _best_epoch(state) >= patience)


def predict(
    network: nn.Module,
    inputs: Callable[[NDArray[np.uint8]], Tensor],
    crops: CropSet,
    rows: list[Crop],
    batch: int = 128,
) -> NDArray[np.float32]:
    """Logits ``[N, C]`` of the plain centre crops of ``rows``."""
    import torch

    parts = []
    with torch.inference_mode():
        for at in range(0, len(rows), batch):
            images = np.stack([centre(crops.image(c)) for c in rows[at : at + batch]])
            parts.append(network(inputs(images)).float().cpu().numpy())
    return np.concatenate(parts)
