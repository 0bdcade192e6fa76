"""Network, moving average, optimiser and schedule: what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.errors import HemeError
from heme_train.bundled import is_bundle
from heme_train.checkpoints import load_local
from heme_train.distributed import Team
from heme_train.draws import steps
from heme_train.mixstyle import mix_styles
from heme_train.models import create_network, earlier_run, input_statistics, preprocessing
from heme_train.norms import set_norm
from heme_train.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

PARTS = ("network", "average", "optimiser", "schedule")


class State:
    """What is learned so far, and how it goes on.

    Attributes:
        network: the network itself, on this process's device.
        trained: the network or its wrapper that averages gradients over the team.
        average: moving average of its weights, which is what is kept.
        epoch: epochs done.
        history: one row per epoch: ``epoch, loss, held_out_loss, held_out_accuracy``.
        best: averaged weights of the epoch with the lowest held-out loss, when stopping early.
    """

    def __init__(self, recipe: Recipe, codes: list[str], team: Team | None = None) -> None:
        import torch
        from torch.optim.swa_utils import AveragedModel

        self.recipe, self.codes, self.team = recipe, codes, team or Team()
        self.device = self.team.device()
        mean, std = statistics_of(recipe)
        network = _network(recipe, len(codes))
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads lack it
        if recipe.mix_styles:
            mix_styles(self.network, recipe.mix_styles)
        self.average = AveragedModel(
            self.network, multi_avg_fn=_moving_average(recipe.average), use_buffers=True
        )
        self.trained = self._joined()
        self.prepare = preprocessing(mean, std, recipe.standardise).to(self.device)
        kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(self.network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        per_epoch = len(steps(recipe.draws, recipe, self.team))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: rate_at(step, per_epoch, recipe)
        )
        self.epoch = 0
        self.history: list[dict[str, float | None]] = []
        self.best: dict[str, Tensor] = {}

    def _joined(self) -> nn.Module:
        import torch

        network: nn.Module = self.network
        if self.team.size == 1:
            return network
        if self.device.type == "cuda" and self.recipe.norm == "batch":
            from timm.layers import convert_sync_batchnorm

            self.network = convert_sync_batchnorm(self.network)
        ids = [self.team.local_rank] if self.device.type == "cuda" else None
        joined: nn.Module = torch.nn.parallel.DistributedDataParallel(self.network, device_ids=ids)
        return joined

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision where the device gains by it: bfloat16 on GPUs that have it."""
        import torch

        if self.device.type != "cuda" or not torch.cuda.is_bf16_supported(
            including_emulation=False
        ):
            return nullcontext()
        return torch.autocast("cuda", torch.bfloat16)

    def alone(self) -> AbstractContextManager[Any]:
        """No averaging over the team: for all passes of a step but its last."""
        from torch.nn.parallel import DistributedDataParallel

        if isinstance(self.trained, DistributedDataParallel):
            return self.trained.no_sync()
        return nullcontext()

    def inputs(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 ``[N, H, W, 3]`` to the normalised float ``[N, 3, H, W]`` the network takes."""
        import torch

        pixels: Tensor = self.prepare(torch.from_numpy(images).to(self.device))
        return pixels.contiguous(memory_format=torch.channels_last)

    def shown(self, images: NDArray[np.uint8]) -> Tensor:
        """``inputs``, smaller in the recipe's first epochs."""
        import torch

        pixels = self.inputs(images)
        if self.epoch >= self.recipe.small_epochs:
            return pixels
        side = (self.recipe.small_px, self.recipe.small_px)
        small = torch.nn.functional.interpolate(pixels, side, mode="bilinear", antialias=True)
        return small.contiguous(memory_format=torch.channels_last)

    def start_training(self) -> None:
        """Training mode, but for what the recipe keeps frozen."""
        self.trained.train()
        if self.recipe.norm == "frozen":
            set_norm(self.network, "frozen")

    def step(self) -> None:
        """One optimiser step from the gradients gathered, clipped to norm 2."""
        import torch

        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.schedule.step()
        self.average.update_parameters(self.network)

    def averaged(self) -> dict[str, Tensor]:
        """Weights of the moving average, as the plain network names them."""
        return {k: v.detach().cpu().clone() for k, v in self.average.module.state_dict().items()}

    def forget(self) -> None:
        """The moving average begins anew: a new cycle of a snapshot ensemble."""
        self.average.n_averaged.zero_()

    def save(self, path: Path, split: str) -> None:
        """Writes the checkpoint atomically."""
        content: dict[str, Any] = {part: getattr(self, part).state_dict() for part in PARTS}
        content |= {"epoch": self.epoch, "history": self.history, "best": self.best}
        save_atomically(path, content | self._described(split))

    def save_weights(self, path: Path, weights: dict[str, Tensor], split: str) -> None:
        """Writes a finished member atomically: weights, recipe, classes and split."""
        save_atomically(path, {"state_dict": weights} | self._described(split))

    def _described(self, split: str) -> dict[str, Any]:
        return {"recipe": asdict(self.recipe), "codes": self.codes, "split": split}

    def load(self, path: Path, split: str) -> None:
        """Goes back to a checkpoint if there is one.

        Raises:
            HemeError: it is of another recipe, other classes or another split.
        """
        if not path.is_file():
            return
        content = read_saved(path)
        for name, value in self._described(split).items():
            if content.get(name) != value:
                raise HemeError(
                    f"'{path}' is of another {name.replace('codes', 'set of classes')}.",
                    "Choose another --run",
                )
        self.epoch, self.history = content["epoch"], content["history"]
        self.best = content["best"]
        for part in PARTS:
            getattr(self, part).load_state_dict(content[part])


def _network(recipe: Recipe, classes: int) -> nn.Module:
    """The network at its start; one that goes on from a run with group norm has it already."""
    earlier = earlier_run(recipe.weights) or {}
    grouped = earlier.get("recipe", {}).get("norm") == "group"
    if recipe.norm == "group" and is_bundle(recipe.weights):
        raise HemeError("A bundle goes on with batch norm only.", "--set norm=batch")
    if recipe.norm == "group" and grouped:
        network = set_norm(create_network(recipe.network, classes, "none"), "group")
        load_local(network, network, Path(recipe.weights))
        return network
    return set_norm(create_network(recipe.network, classes, recipe.weights), recipe.norm)


def statistics_of(recipe: Recipe) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the input: as the recipe says, or its weights expect."""
    if recipe.mean:
        return recipe.mean, recipe.std
    return input_statistics(recipe.network, recipe.weights)


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average whose horizon grows with the steps, so that the start is forgotten."""

    def update(averages: list[Tensor], values: list[Tensor], done: Any) -> None:
        import torch

        keep = min(decay, (1 + int(done)) / (10 + int(done)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - keep)
            return
        for average, value in zip(averages, values, strict=True):  # counters
            average.copy_(value)

    return update


def rate_at(step: int, per_epoch: int, recipe: Recipe) -> float:
    """The learning rate of a step, as a share of the recipe's.

    Args:
        step: optimiser steps done.
        per_epoch: steps in an epoch.
        recipe: its schedule, epochs and cycles.
    """
    if recipe.schedule == "steps":
        return float(recipe.step_factor ** (step // (per_epoch * recipe.step_epochs)))
    cycle = per_epoch * recipe.epochs // recipe.cycles
    step = min(step, cycle * recipe.cycles - 1) % cycle
    warm = max(1, min(200, cycle // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, cycle - warm)))


def save_atomically(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values so that the file is there whole or not at all."""
    import torch

    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def read_saved(path: Path) -> dict[str, Any]:
    """What ``save_atomically`` wrote.

    Raises:
        HemeError: it cannot be read.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what the damaged archive made it stumble on
        raise HemeError(f"'{path}' cannot be read: {error}", "Delete it") from error
    return dict(content)
