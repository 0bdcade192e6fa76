"""One network trained on the fold roles of a crop set: the loop, its checkpoint, its resume."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge.cells import ARTIFACT_CODE
from heme_edge.errors import HemeError
from heme_train.augment import Augmenter, Look, Strength, centre
from heme_train.data import (
    BACKGROUND,
    FOLDS,
    Crop,
    CropSet,
    class_shares,
    draw_weights,
)
from heme_train.models import create_network, input_statistics, preprocessing
from heme_train.stain import Styles, measure_style

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS_FILE, CHECKPOINT_FILE, RUN_FILE = "weights.pt", "checkpoint.pt", "run.json"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, apart from the crops.

    Attributes:
        network: timm model name.
        weights: start, see ``models.create_network``.
        hold_out: fold kept for validation, or ``none`` to train on every fold role.
        sources: crop sources to train on; empty means all.
        epochs, draws, batch: length; ``draws`` crops are drawn per epoch, classes equally.
        rate: peak of the learning rate (AdamW; warm-up, then cosine to zero).
        smoothing: label smoothing.
        average: decay of the moving average of the weights, which is what is kept.
        standardise: whether the graph standardises each crop's channels, see ``preprocessing``.
        seed: of weights, draws and augmentation.
        strength: of the augmentation.
    """

    network: str = "efficientnet_lite0"
    weights: str = "packaged"
    hold_out: str = "none"
    sources: tuple[str, ...] = ()
    epochs: int = 12
    draws: int = 14_000
    batch: int = 64
    rate: float = 1e-3
    decay: float = 0.02
    smoothing: float = 0.05
    average: float = 0.998
    standardise: bool = False
    seed: int = 0
    strength: Strength = field(default_factory=Strength)


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
    codes = sorted({c.code for c in training if c.code != BACKGROUND})
    _describe(run, digests, recipe, codes, training)
    if (run / WEIGHTS_FILE).is_file():
        return run / WEIGHTS_FILE
    torch.manual_seed(recipe.seed)
    state = _State(recipe, len(codes))
    state.load(run / CHECKPOINT_FILE)
    styles = source_styles(crops, training, recipe.seed)
    for epoch in range(state.epoch, recipe.epochs):
        started = time.monotonic()
        draws = _Draws(crops, training, codes, recipe, epoch, styles)
        loss = _train_epoch(state, _batches(draws, recipe))
        accuracy = _accuracy(state, crops, validation, codes) if validation else None
        state.epoch = epoch + 1
        state.save(run / CHECKPOINT_FILE)
        seconds = time.monotonic() - started
        report(Progress(epoch + 1, recipe.epochs, loss, accuracy, seconds, recipe.draws / seconds))
    _save(run / WEIGHTS_FILE, state.averaged())
    (run / CHECKPOINT_FILE).unlink(missing_ok=True)
    return run / WEIGHTS_FILE


def _roles(crops: CropSet, recipe: Recipe) -> tuple[list[Crop], list[Crop]]:
    if recipe.hold_out not in (*FOLDS, "none"):
        raise HemeError(f"'{recipe.hold_out}' is not a fold.", f"One of {', '.join(FOLDS)}, none")
    training = crops.select([f for f in FOLDS if f != recipe.hold_out], recipe.sources)
    if len({c.code for c in training} - {BACKGROUND}) < 2:
        raise HemeError(
            "There are fewer than two classes to train on.", "Check --data and --source"
        )
    validation = crops.select([recipe.hold_out], recipe.sources)
    return training, [c for c in validation if c.code != BACKGROUND]


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


class _State:
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
        _save(path, content | {"epoch": self.epoch})

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


def _save(path: Path, content: dict[str, Any]) -> None:
    import torch

    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


class _Draws:
    """The crops of one epoch: draw k is the same whoever asks for it and whenever."""

    def __init__(
        self,
        crops: CropSet,
        training: list[Crop],
        codes: list[str],
        recipe: Recipe,
        epoch: int,
        styles: Styles,
    ) -> None:
        self._crops, self._recipe, self._epoch = crops, recipe, epoch
        self._cells = [c for c in training if c.code != BACKGROUND]
        self._around = [c for c in training if c.code == BACKGROUND]
        self._target = {code: i for i, code in enumerate(codes)}
        weights = draw_weights(self._cells)
        rng = np.random.default_rng([recipe.seed, epoch])
        self._order = rng.choice(len(self._cells), recipe.draws, p=weights)
        self._others = rng.choice(len(self._cells), recipe.draws, p=weights)
        self._augment = Augmenter(recipe.strength, styles)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, k: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int]:
        rng = np.random.default_rng([self._recipe.seed, self._epoch, k])
        crop = self._cells[self._order[k]]
        image = self._augment(self._look(crop), self._look(self._other(k, rng)), rng)
        return image, self._target[crop.code]

    def _look(self, crop: Crop) -> Look:
        return Look(self._crops.image(crop), crop.source)

    def _other(self, k: int, rng: np.random.Generator) -> Crop:
        if self._around and rng.random() < 0.5:
            return self._around[int(rng.integers(len(self._around)))]
        return self._cells[int(self._others[k])]


def source_styles(crops: CropSet, training: list[Crop], seed: int, each: int = 60) -> Styles:
    """The stain of every source, measured on the classes that all measured sources show.

    Sources that share no class with another one are not measured.
    """
    sources_of: dict[str, set[str]] = {}
    for c in training:
        if c.code != BACKGROUND:
            sources_of.setdefault(c.code, set()).add(c.source)
    shared = {code: s for code, s in sources_of.items() if len(s) > 1 and code != ARTIFACT_CODE}
    rng = np.random.default_rng(seed)
    styles = {}
    for source in sorted(set().union(*shared.values())):
        chosen: list[Crop] = []
        for code in sorted(code for code, s in shared.items() if source in s):
            rows = [c for c in training if (c.code, c.source) == (code, source)]
            chosen += [rows[i] for i in rng.permutation(len(rows))[:each]]
        styles[source] = measure_style(centre(crops.image(c)) for c in chosen)
    return Styles(styles)


def _batches(draws: _Draws, recipe: Recipe) -> Iterator[tuple[Any, Any]]:
    import torch

    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        draws,  # type: ignore[arg-type]
        batch_size=recipe.batch,
        num_workers=max(1, (os.cpu_count() or 2) // 2),
        collate_fn=_collate,
        worker_init_fn=_single_threaded,
    )
    return iter(loader)


def _single_threaded(_: int) -> None:
    """OpenCV's thread pool does not survive the fork: a worker that used it would wait for ever."""
    import cv2

    cv2.setNumThreads(0)


def _collate(items: list[tuple[np.ndarray[Any, Any], int]]) -> tuple[Any, Any]:
    return np.stack([image for image, _ in items]), np.array([target for _, target in items])


def _train_epoch(state: _State, batches: Iterator[tuple[Any, Any]]) -> float:
    """One pass over the draws; returns the mean loss."""
    import torch

    state.network.train()
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=state.recipe.smoothing)
    total, count = 0.0, 0
    for images, targets in batches:
        wanted = torch.from_numpy(targets).to(state.device)
        loss = loss_of(state.network(state.inputs(images)), wanted)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimiser.step()
        state.schedule.step()
        state.average.update_parameters(state.network)
        total, count = total + float(loss.detach()) * len(targets), count + len(targets)
    return total / count


def _accuracy(state: _State, crops: CropSet, rows: list[Crop], codes: list[str]) -> float:
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
