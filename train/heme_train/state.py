"""Network, moving average, optimiser and schedule: what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_train.models import create_network, input_statistics, preprocessing
from heme_train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class State:
    """Network, its moving average, optimiser and schedule: what a checkpoint holds."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        import torch
        from torch.optim.swa_utils import AveragedModel

        self.recipe = recipe
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        mean, std = input_statistics(recipe.network, recipe.weights)
        network = create_network(recipe.network, classes, recipe.weights)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network, avg_fn=_moving_average(recipe.average), use_buffers=True
        )
        self.prepare = preprocessing(mean, std, recipe.standardise).to(self.device)
        steps = recipe.epochs * math.ceil(recipe.draws / recipe.batch)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.rate, weight_decay=recipe.decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: _warm_cosine(step, steps)
        )
        self.epoch = 0

    def inputs(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """uint8 ``[N, H, W, 3]`` to the normalised float ``[N, 3, H, W]`` the network takes."""
        import torch

        pixels: Tensor = self.prepare(torch.from_numpy(images).to(self.device))
        return pixels.contiguous(memory_format=torch.channels_last)

    def averaged(self) -> dict[str, Tensor]:
        """Weights of the moving average, as the plain network names them."""
        return {k: v.cpu() for k, v in self.average.module.state_dict().items()}

    def save(self, path: Path) -> None:
        """Writes the checkpoint atomically."""
        parts = ("network", "average", "optimiser", "schedule")
        content = {part: getattr(self, part).state_dict() for part in parts}
        save_atomically(path, content | {"epoch": self.epoch})

    def load(self, path: Path) -> None:
        """Goes back to a checkpoint if there is one."""
        import torch

        if not path.is_file():
            return
        content = torch.load(path, map_location=self.device, weights_only=True)
        self.epoch = content.pop("epoch")
        for part, value in content.items():
            getattr(self, part).load_state_dict(value)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """An exponential average whose horizon grows with the steps, so that the start is forgotten."""

    def update(average: Tensor, value: Tensor, steps: Any) -> Tensor:
        keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return average + (value - average) * (1 - keep)

    return update


def _warm_cosine(step: int, steps: int) -> float:
    warm = max(1, min(200, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def save_atomically(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values so that the file is there whole or not at all."""
    import torch

    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)
