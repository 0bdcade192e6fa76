"""What one epoch shows: crops drawn equally by class, augmented the same way every time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.cells import ARTIFACT_CODE
from heme_edge.errors import HemeError
from heme_edge.photos import decode_photo
from heme_train.augment import Augmenter, Look, centre
from heme_train.data import BACKGROUND, UNNAMED, Crop, CropSet, draw_weights
from heme_train.distributed import Team
from heme_train.losses import UNTOLD
from heme_train.recipe import Recipe
from heme_train.sharpness import Sharpness, measure_spectrum
from heme_train.stain import Styles, measure_style

_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from.

    Attributes:
        crops: the pictures.
        training: rows that may be shown.
        codes, sources: what the indices stand for.
        forbidden: SHA-256 of every picture that must never be shown; see ``forbidden_hashes``.
        teacher: probabilities ``[len(training), C]`` of networks that have not seen the row,
            or None.
    """

    crops: CropSet
    training: list[Crop]
    codes: list[str]
    sources: list[str]
    forbidden: frozenset[bytes] = frozenset()
    teacher: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Batch:
    """Crops uint8 ``[N, 96, 96, 3]`` and what is known of them, ``[N]`` each.

    Attributes:
        images: the augmented crops.
        targets: class index, or ``UNTOLD``.
        sources: source index.
        teacher: probabilities ``[N, C]``, or None.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    sources: NDArray[np.int64]
    teacher: NDArray[np.float32] | None


def forbidden_hashes(crops: CropSet, training: list[Crop]) -> frozenset[bytes]:
    """SHA-256 of every picture outside the training rows: checked against each one shown."""
    shown = {c.file for c in training}
    return frozenset(
        hashlib.sha256(crops.data(c)).digest() for c in crops.crops if c.file not in shown
    )


def check_shown(crop: Crop, data: bytes, forbidden: frozenset[bytes]) -> None:
    """Refuses a picture that stands in another role too.

    Raises:
        HemeError: its bytes are among the forbidden ones.
    """
    if hashlib.sha256(data).digest() in forbidden:
        raise HemeError(f"'{crop.file}' is also a picture of a test or validation role.")


@dataclass(frozen=True)
class Looks:
    """What the sources look like, measured on the classes they share."""

    styles: Styles
    sharpness: Sharpness


class Draws:
    """The crops of one epoch: draw k is the same whoever asks for it and whenever."""

    def __init__(self, lesson: Lesson, recipe: Recipe, epoch: int, looks: Looks) -> None:
        self._lesson, self._recipe, self._epoch = lesson, recipe, epoch
        rows = range(len(lesson.training))
        self._rows = [i for i in rows if lesson.training[i].code != BACKGROUND]
        self._cells = [lesson.training[i] for i in self._rows]
        self._around = [c for c in lesson.training if c.code == BACKGROUND]
        self._target = {code: i for i, code in enumerate(lesson.codes)}
        self._source = {source: i for i, source in enumerate(lesson.sources)}
        weights = draw_weights(self._cells)
        rng = np.random.default_rng([recipe.seed, epoch])
        self._order = rng.choice(len(self._cells), recipe.draws, p=weights)
        self._others = rng.choice(len(self._cells), recipe.draws, p=weights)
        self._augment = Augmenter(recipe.strength, looks.styles, looks.sharpness)

    def __len__(self) -> int:
        """Draws in the epoch."""
        return len(self._order)

    def __getitem__(self, k: int) -> tuple[NDArray[np.uint8], int, int, int]:
        """Draw k: a crop uint8 ``[96, 96, 3]``, its target, its source and its row."""
        rng = np.random.default_rng([self._recipe.seed, self._epoch, k])
        at = int(self._order[k])
        crop = self._cells[at]
        image = self._augment(self._look(crop), self._look(self._other(k, rng)), rng)
        target = self._target.get(crop.code, UNTOLD)
        return image, target, self._source[crop.source], self._rows[at]

    def batch(self, items: list[tuple[NDArray[np.uint8], int, int, int]]) -> Batch:
        """Draws as one batch."""
        images, targets, sources, rows = zip(*items, strict=True)
        teacher = self._lesson.teacher
        return Batch(
            np.stack(images),
            np.array(targets),
            np.array(sources),
            None if teacher is None else teacher[list(rows)],
        )

    def _look(self, crop: Crop) -> Look:
        data = self._lesson.crops.data(crop)
        check_shown(crop, data, self._lesson.forbidden)
        return Look(decode_photo(data), crop.source)

    def _other(self, k: int, rng: np.random.Generator) -> Crop:
        if self._around and rng.random() < 0.5:
            return self._around[int(rng.integers(len(self._around)))]
        return self._cells[int(self._others[k])]


def measure_looks(crops: CropSet, training: list[Crop], seed: int, each: int = 60) -> Looks:
    """Stain and sharpness of every source, on the classes that it shares with another one.

    Where no two sources share a class, on all their classes; a lone source is not measured.
    """
    sources_of: dict[str, set[str]] = {}
    for c in training:
        if c.code not in UNNAMED:
            sources_of.setdefault(c.code, set()).add(c.source)
    sources_of.pop(ARTIFACT_CODE, None)
    shared = {code: s for code, s in sources_of.items() if len(s) > 1}
    if not shared and len(set().union(*sources_of.values())) > 1:
        shared = sources_of
    rng = np.random.default_rng(seed)
    styles, spectra = {}, {}
    for source in sorted(set().union(*shared.values())):
        chosen: list[Crop] = []
        for code in sorted(code for code, s in shared.items() if source in s):
            rows = [c for c in training if (c.code, c.source) == (code, source)]
            chosen += [rows[i] for i in rng.permutation(len(rows))[:each]]
        images = [centre(crops.image(c)) for c in chosen]
        styles[source], spectra[source] = measure_style(images), measure_spectrum(images)
    return Looks(Styles(styles), Sharpness(spectra))


def batches(draws: Draws, recipe: Recipe, team: Team | None = None) -> Iterator[Batch]:
    """The batches of this process, made by workers, ``recipe.device_batch`` crops at most each.

    Each batch of the recipe is dealt to the team's processes in turn, so that together they see
    what one process alone would.
    """
    import torch

    team = team or Team()
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        draws,  # type: ignore[arg-type]  # torch asks for a Dataset, takes any sequence
        batch_sampler=_dealt(len(draws), recipe, team),  # type: ignore[arg-type]  # torch asks for a Sampler, takes any iterable
        num_workers=max(1, (os.cpu_count() or 2) // (2 * team.local_size)),
        collate_fn=draws.batch,
        worker_init_fn=_start_worker,
    )
    return iter(loader)


def steps(draws: int, recipe: Recipe, team: Team) -> list[int]:
    """Crops of each optimiser step; a rest smaller than the team is left out."""
    sizes = [min(recipe.batch, draws - at) for at in range(0, draws, recipe.batch)]
    return [n for n in sizes if n >= team.size]


def passes(size: int, recipe: Recipe, team: Team) -> int:
    """Device batches of a step, the same for every process; one may hold a crop more than asked."""
    return max(1, -(-(size // team.size) // recipe.device_batch))


def _dealt(draws: int, recipe: Recipe, team: Team) -> list[Sequence[int]]:
    dealt: list[Sequence[int]] = []
    for step, size in enumerate(steps(draws, recipe, team)):
        mine = range(step * recipe.batch + team.rank, step * recipe.batch + size, team.size)
        parts = np.array_split(np.array(mine), passes(size, recipe, team))
        dealt += [part.tolist() for part in parts]
    return dealt


def _start_worker(_: int) -> None:
    """One thread, on any core this program may use.

    OpenCV's thread pool does not survive the fork: a worker that used it would wait for ever.
    Where the arithmetic threads are bound to cores a worker would inherit the first one's.
    """
    import cv2

    cv2.setNumThreads(0)
    if _CORES is not None:
        os.sched_setaffinity(0, _CORES)
