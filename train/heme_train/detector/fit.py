"""Training the detector's network."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from heme_edge.bundle import load_bundle
from heme_edge.detect.learned import spec_of
from heme_edge.errors import HemeError
from heme_train.bundled import load_bundled, settle_norms
from heme_train.detector.loss import detection_loss
from heme_train.detector.net import CentreNet
from heme_train.detector.samples import Samples, Source

WEIGHTS, ABOUT = "detector.pt", "detector.json"
SETTLE = 20
"""Batches from which the batch norms of a bundle's detector are set up again."""
GRADIENT_NORM = 5.0
DECAY = 0.999
"""Of the running mean of the weights, which is what is kept."""


@dataclass(frozen=True)
class DetectorRecipe:
    """How the detector is trained.

    Attributes:
        steps: how many batches.
        batch: samples in each.
        rate: highest rate of AdamW; it rises over a twentieth of the steps and falls by a cosine.
        decay: weight decay.
        seed: of everything.
        workers: processes that make samples.
        every: steps between two checkpoints.
        weights: a bundle to go on from; empty: none.
    """

    steps: int = 12000
    batch: int = 16
    rate: float = 2e-3
    decay: float = 1e-2
    seed: int = 0
    workers: int = 1
    every: int = 250
    weights: str = ""


def fit_detector(
    sources: Sequence[Source], recipe: DetectorRecipe, run: Path, say: Callable[[str], None]
) -> CentreNet:
    """Trains the network; a killed run goes on from its last checkpoint with the same arguments.

    It goes on with other samples than an undisturbed run would have seen.

    Args:
        sources: where the samples come from.
        recipe: how.
        run: folder for ``detector.pt``: weights, their running mean, optimiser and step.
        say: gets a line at every checkpoint.

    Raises:
        HemeError: the folder holds a run with another recipe.

    Returns:
        the network with the running mean of its weights, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    network = CentreNet()
    if recipe.weights and not (run / WEIGHTS).exists():
        _go_on_from(Path(recipe.weights), network, sources, recipe)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    swa = torch.optim.swa_utils
    running = swa.get_ema_multi_avg_fn(DECAY)  # type: ignore[no-untyped-call]  # torch's stubs lack it
    mean = swa.AveragedModel(network, multi_avg_fn=running, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    rise = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, recipe.steps, pct_start=0.05, cycle_momentum=False
    )
    parts = {"network": network, "mean": mean, "optimiser": optimiser, "rate": rise}
    done = _resume(run / WEIGHTS, parts, recipe)
    samples = Samples(sources, recipe.seed + done)
    batches = iter(DataLoader(samples, recipe.batch, num_workers=recipe.workers))
    # Without instructions for it bfloat16 takes eight times as long as float32.
    half = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    network.train()
    total, start = 0.0, time.monotonic()
    for step in range(done + 1, recipe.steps + 1):
        fields, target = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = network(fields.contiguous(memory_format=torch.channels_last))
        loss = detection_loss(outputs.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs lack it
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        optimiser.step()
        rise.step()
        mean.update_parameters(network)
        total += loss.item()
        if step % recipe.every == 0 or step == recipe.steps:
            _keep(run / WEIGHTS, parts, recipe, step)
            count = min(recipe.every, step - done)
            left = (time.monotonic() - start) / (step - done) * (recipe.steps - step)
            say(
                f"step {step} of {recipe.steps}: loss {total / count:.4f}, {left / 60:.0f} min left"
            )
            total = 0.0
    averaged = mean.module
    assert isinstance(averaged, CentreNet)
    return averaged.eval()


def _go_on_from(
    bundle: Path, network: CentreNet, sources: Sequence[Source], recipe: DetectorRecipe
) -> None:
    """Gives the network the weights of a bundle's detector, and batch norms that fit them."""
    load_bundled(network, bundle, spec_of(load_bundle(bundle)).files["fp32"])
    batches = iter(DataLoader(Samples(sources, recipe.seed), recipe.batch))
    settle_norms(network, (next(batches)[0] for _ in range(SETTLE)))


def load_detector(run: Path) -> CentreNet:
    """The network of a run, with the running mean of its weights.

    Raises:
        HemeError: there is no such run.
    """
    if not (run / WEIGHTS).is_file():
        raise HemeError(f"'{run}' holds no {WEIGHTS}.", "RUN is a folder of heme-train detector")
    state = torch.load(run / WEIGHTS, map_location="cpu", weights_only=True)
    network = CentreNet()
    network.load_state_dict(
        {k.removeprefix("module."): v for k, v in state["mean"].items() if k != "n_averaged"}
    )
    return network.eval()


def provenance_of(run: Path) -> dict[str, Any]:
    """How the detector of a run was made, as ``detector.json`` in its folder says.

    Raises:
        HemeError: the file is not there or damaged.
    """
    try:
        content: dict[str, Any] = json.loads((run / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HemeError(
            f"'{run / ABOUT}' cannot be read ({error}).", "RUN is a folder of heme-train detector"
        ) from error
    return content


def _keep(path: Path, parts: dict[str, Any], recipe: DetectorRecipe, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    state = {name: one.state_dict() for name, one in parts.items()}
    torch.save({"step": step, "recipe": asdict(recipe), **state}, part)
    part.replace(path)


def _resume(path: Path, parts: dict[str, Any], recipe: DetectorRecipe) -> int:
    """The step that the run in a folder has reached."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise HemeError(f"'{path}' was made with other settings.", "--run FOLDER, a new one")
    for name, one in parts.items():
        one.load_state_dict(state[name])
    return int(state["step"])
