"""Networks trained on the fold roles of a crop set: the loop, its checkpoint, its resume."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heme_train.bundled import is_bundle, settle_norms
from heme_train.data import BACKGROUND, FOLDS, UNNAMED, Crop, CropSet
from heme_train.distributed import Team
from heme_train.draws import (
    Batch,
    Draws,
    Lesson,
    batches,
    check_shown,
    forbidden_hashes,
    measure_looks,
    passes,
    steps,
)
from heme_train.judge import judge, stops_early
from heme_train.losses import Loss, loss_for
from heme_train.models import WEIGHTS_FILE
from heme_train.plan import CHECKPOINT_FILE as CHECKPOINT_FILE
from heme_train.plan import check_classes, check_kind, check_start, describe, roles
from heme_train.recipe import Recipe
from heme_train.runs import ENSEMBLE_FILE
from heme_train.state import State
from heme_train.teacher import TAUGHT_FILE, taught

if TYPE_CHECKING:
    from torch import Tensor

HISTORY_FILE = "history.csv"
ALL = "all"
SETTLING_DRAWS = 512


@dataclass(frozen=True)
class Progress:
    """What the loop reports after each epoch; held-out figures are None where not measured."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
    seconds: float
    crops_per_s: float
    fold: str = "none"
    folds_left: int = 0


Report = Callable[[Progress], None]


def fit(
    crops: CropSet,
    run: Path,
    recipe: Recipe,
    extra: CropSet | None = None,
    report: Report = lambda _: None,
    team: Team | None = None,
) -> list[Path]:
    """Trains one network, or with ``hold_out="all"`` one per fold; goes on where it stopped.

    Args:
        crops: the labelled crops; only roles ``fold0`` to ``fold4`` are trained on.
        run: folder of the run, with a folder per fold where there are several.
        recipe: what to train.
        extra: more crops for training, such as detector false alarms; their fold roles count too.
        report: called once per epoch.
        team: the processes that train together.

    Returns:
        the weights files.

    Raises:
        HemeError: nothing to train on, or ``run`` holds a run of another recipe or split.
    """
    check_kind(run, recipe.hold_out == ALL)
    if recipe.hold_out != ALL:
        return [fit_fold(crops, run, recipe, extra, report, team)]
    check_classes(crops.joined(extra) if extra else crops, recipe)
    if (team or Team()).first:
        run.mkdir(parents=True, exist_ok=True)
        (run / ENSEMBLE_FILE).write_text(json.dumps({"folds": FOLDS}))
    done = []
    for left, fold in zip(range(len(FOLDS) - 1, -1, -1), FOLDS, strict=True):
        tell = partial(_tell, report, left)
        own = replace(recipe, hold_out=fold)
        done.append(fit_fold(crops, run / fold, own, extra, tell, team))
    return done


def _tell(report: Report, left: int, progress: Progress) -> None:
    report(replace(progress, folds_left=left))


def fit_fold(
    crops: CropSet,
    run: Path,
    recipe: Recipe,
    extra: CropSet | None = None,
    report: Report = lambda _: None,
    team: Team | None = None,
) -> Path:
    """Trains one network; arguments and errors as ``fit``.

    ``run`` gets ``run.json``, ``history.csv``, ``checkpoint.pt`` after each epoch and
    ``weights.pt`` at the end (``weights-1.pt`` and so on after each earlier cycle).
    """
    import torch

    team = team or Team()
    digests = {"crops_sha256": crops.digest(), "extra_sha256": extra.digest() if extra else ""}
    crops = crops.joined(extra) if extra else crops
    training, validation = roles(crops, recipe)
    codes = sorted({c.code for c in training} - UNNAMED)
    if team.first:
        describe(run, digests, recipe, codes, training)
    team.wait()
    if (run / WEIGHTS_FILE).is_file():
        return run / WEIGHTS_FILE
    check_start(recipe, digests["crops_sha256"])
    torch.manual_seed(recipe.seed)
    split = digests["crops_sha256"] + digests["extra_sha256"]
    state = State(recipe, codes, team)
    state.load(run / CHECKPOINT_FILE, split)
    lesson = _lesson(crops, training, codes, recipe, run, digests["crops_sha256"], team)
    loss = loss_for(recipe, codes, lesson.sources, training).to(state.device)
    looks = measure_looks(crops, training, recipe.seed)
    if is_bundle(recipe.weights) and state.epoch == 0:
        _settle(state, Draws(lesson, replace(recipe, draws=SETTLING_DRAWS), 0, looks))
    while state.epoch < recipe.epochs and not stops_early(state):
        started = time.monotonic()
        mean_loss = _train_epoch(state, Draws(lesson, recipe, state.epoch, looks), loss)
        state.epoch += 1
        judge(state, crops, validation, mean_loss)
        if team.first:
            _keep(state, run, split)
            seconds = time.monotonic() - started
            report(_progress(state, seconds))
    if team.first:
        state.save_weights(run / WEIGHTS_FILE, state.best or state.averaged(), split)
        for file in (CHECKPOINT_FILE, TAUGHT_FILE):
            (run / file).unlink(missing_ok=True)
    team.wait()
    return run / WEIGHTS_FILE


def _lesson(
    crops: CropSet,
    training: list[Crop],
    codes: list[str],
    recipe: Recipe,
    run: Path,
    split: str,
    team: Team,
) -> Lesson:
    teacher = None
    if recipe.teacher:
        cells = [i for i, c in enumerate(training) if c.code != BACKGROUND]
        rows, path = [training[i] for i in cells], Path(recipe.teacher)
        teacher = np.zeros((len(training), len(codes)), np.float32)
        teacher[cells] = team.agreed(
            taught(run / TAUGHT_FILE, path, crops, rows, codes, split) if team.first else None
        )
    sources = sorted({c.source for c in training})
    forbidden = forbidden_hashes(crops, training)
    for c in training:  # here too, where it is one sentence and before the first epoch
        check_shown(c, crops.data(c), forbidden)
    return Lesson(crops, training, codes, sources, forbidden, teacher)


def _settle(state: State, draws: Draws) -> None:
    """A network read back from a bundle gets batch statistics of what it will be shown."""
    settle_norms(state.network, (state.shown(b.images) for b in batches(draws, state.recipe)))
    state.average.module.load_state_dict(state.network.state_dict())


def _train_epoch(state: State, draws: Draws, loss: Loss) -> float:
    """One pass over the draws; returns the mean loss of this process's crops."""
    import torch

    torch.manual_seed(state.recipe.seed + state.epoch)  # dropout is the same after a resume
    state.start_training()
    total, count = 0.0, 0
    for batch, size, last in _passes(state, draws):
        with nullcontext() if last else state.alone():
            with state.autocast():
                part = _loss_of(state, batch, loss)
            # the team's gradients are averaged, so each process counts for the whole of it
            (part * (state.team.size / size)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        total, count = total + float(part.detach()), count + len(batch.targets)
        if last:
            state.step()
    return total / max(1, count)


def _passes(state: State, draws: Draws) -> Iterator[tuple[Batch, int, bool]]:
    """Each device batch, the size of the step it belongs to, and whether it is the step's last."""
    source = batches(draws, state.recipe, state.team)
    for size in steps(len(draws), state.recipe, state.team):
        count = passes(size, state.recipe, state.team)
        for at in range(count):
            yield next(source), size, at == count - 1


def _loss_of(state: State, batch: Batch, loss: Loss) -> Tensor:
    import torch

    on = state.device
    teacher = None if batch.teacher is None else torch.from_numpy(batch.teacher).to(on)
    logits = state.trained(state.shown(batch.images)).float()
    targets, sources = torch.from_numpy(batch.targets), torch.from_numpy(batch.sources)
    return loss(logits, targets.to(on), sources.to(on), teacher)


def _keep(state: State, run: Path, split: str) -> None:
    """Writes the checkpoint, the history, and a member where a cycle has ended."""
    recipe = state.recipe
    cycle, rest = divmod(state.epoch * recipe.cycles, recipe.epochs)
    if rest == 0 and cycle < recipe.cycles:
        state.save_weights(run / f"weights-{cycle}.pt", state.averaged(), split)
        state.forget()
    state.save(run / CHECKPOINT_FILE, split)
    with (run / HISTORY_FILE).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(state.history[0]))
        writer.writeheader()
        writer.writerows(state.history)


def _progress(state: State, seconds: float) -> Progress:
    accuracy, loss = state.history[-1]["held_out_accuracy"], state.history[-1]["loss"] or 0.0
    recipe = state.recipe
    return Progress(
        state.epoch, recipe.epochs, loss, accuracy, seconds, recipe.draws / seconds, recipe.hold_out
    )
