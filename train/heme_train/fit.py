"""One network trained on the fold roles of a crop set: the loop, its checkpoint, its resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge.cells import cell_class
from heme_edge.errors import HemeError
from heme_train.augment import centre
from heme_train.data import FOLDS, UNNAMED, Crop, CropSet, class_shares
from heme_train.draws import UNTOLD, Draws, batches, source_styles
from heme_train.models import RUN_FILE, WEIGHTS_FILE, first_weights, input_statistics
from heme_train.recipe import Recipe
from heme_train.state import State, save_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Progress:
    """What the loop reports after each epoch; ``accuracy`` is None without a held-out fold."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
    seconds: float
    crops_per_s: float


def fit(
    crops: CropSet,
    run: Path,
    recipe: Recipe,
    extra: CropSet | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Trains, or goes on where an interrupted run stopped.

    Args:
        crops: the labelled crops; only roles ``fold0`` to ``fold4`` are used.
        run: folder for ``run.json``, ``checkpoint.pt`` (each epoch) and ``weights.pt`` (the end).
        recipe: what to train.
        extra: more crops for training, such as detector false alarms; their fold roles count too.
        report: called once per epoch.

    Returns:
        the weights file.

    Raises:
        HemeError: nothing to train on, or ``run`` holds a run of another recipe or split.
    """
    import torch

    digests = {"crops_sha256": crops.digest(), "extra_sha256": extra.digest() if extra else ""}
    crops = crops.joined(extra) if extra else crops
    training, validation = _roles(crops, recipe)
    codes = sorted({c.code for c in training} - UNNAMED)
    _describe(run, digests, recipe, codes, training)
    if (run / WEIGHTS_FILE).is_file():
        return run / WEIGHTS_FILE
    torch.manual_seed(recipe.seed)
    state = State(recipe, len(codes))
    state.load(run / CHECKPOINT_FILE)
    styles = source_styles(crops, training, recipe.seed)
    for epoch in range(state.epoch, recipe.epochs):
        started = time.monotonic()
        draws = Draws(crops, training, codes, recipe, epoch, styles)
        loss = _train_epoch(state, batches(draws, recipe), codes)
        accuracy = _accuracy(state, crops, validation, codes) if validation else None
        state.epoch = epoch + 1
        state.save(run / CHECKPOINT_FILE)
        seconds = time.monotonic() - started
        report(Progress(epoch + 1, recipe.epochs, loss, accuracy, seconds, recipe.draws / seconds))
    save_atomically(run / WEIGHTS_FILE, state.averaged())
    (run / CHECKPOINT_FILE).unlink(missing_ok=True)
    return run / WEIGHTS_FILE


def _roles(crops: CropSet, recipe: Recipe) -> tuple[list[Crop], list[Crop]]:
    if recipe.hold_out not in (*FOLDS, "none"):
        raise HemeError(f"'{recipe.hold_out}' is not a fold.", f"One of {', '.join(FOLDS)}, none")
    training = crops.select([f for f in FOLDS if f != recipe.hold_out], recipe.sources)
    if len({c.code for c in training} - UNNAMED) < 2:
        raise HemeError(
            "There are fewer than two classes to train on.", "Check --data and --source"
        )
    validation = crops.select([recipe.hold_out], recipe.sources)
    return training, [c for c in validation if c.code not in UNNAMED]


def _describe(
    run: Path, digests: dict[str, str], recipe: Recipe, codes: list[str], training: list[Crop]
) -> None:
    """Writes run.json, or checks that the one there is of the same recipe and split."""
    mean, std = input_statistics(recipe.network, recipe.weights)
    content = {
        "recipe": asdict(recipe),
        "codes": codes,
        "mean": mean,
        "std": std,
        "first_weights": first_weights(recipe.weights),
        "training_images": class_shares(training),
    }
    text = json.dumps(content | digests, indent=1)
    path = run / RUN_FILE
    if path.is_file():
        if path.read_text() != text:
            raise HemeError(
                f"'{run}' holds a run of another recipe or another split.", "Choose another --run"
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _train_epoch(state: State, batches: Iterator[tuple[Any, Any]], codes: Sequence[str]) -> float:
    """One pass over the draws; returns the mean loss."""
    import torch

    state.network.train()
    nucleated = torch.tensor([cell_class(c).in_differential for c in codes], device=state.device)
    total, count = 0.0, 0
    for images, targets in batches:
        wanted = torch.from_numpy(targets).to(state.device)
        logits = state.network(state.inputs(images))
        loss = loss_of(logits, wanted, nucleated, state.recipe.smoothing)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimiser.step()
        state.schedule.step()
        state.average.update_parameters(state.network)
        total, count = total + float(loss.detach()) * len(targets), count + len(targets)
    return total / count


def loss_of(logits: Tensor, wanted: Tensor, nucleated: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy; a cell of untold class asks only for the sum over nucleated classes.

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
    total = total - torch.logsumexp(log_p[:, nucleated], 1).sum()
    return total / len(wanted)


def _accuracy(state: State, crops: CropSet, rows: list[Crop], codes: list[str]) -> float:
    """Accuracy of the averaged weights on the plain centre crops of held-out rows."""
    network: nn.Module = state.average.module.eval()
    scores = predict(network, state.inputs, crops, rows)
    truth = np.array([codes.index(c.code) if c.code in codes else -1 for c in rows])
    return float((scores.argmax(1) == truth).mean())


def predict(
    network: nn.Module,
    inputs: Callable[[np.ndarray[Any, np.dtype[np.uint8]]], Tensor],
    crops: CropSet,
    rows: list[Crop],
    batch: int = 128,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits ``[N, C]`` of the plain centre crops of ``rows``."""
    import torch

    parts = []
    with torch.inference_mode():
        for at in range(0, len(rows), batch):
            images = np.stack([centre(crops.image(c)) for c in rows[at : at + batch]])
            parts.append(network(inputs(images)).cpu().numpy())
    return np.concatenate(parts)
