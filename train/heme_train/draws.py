"""What one epoch shows: crops drawn equally by class, augmented the same way every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from heme_edge.cells import ARTIFACT_CODE
from heme_train.augment import Augmenter, Look, centre
from heme_train.data import BACKGROUND, UNNAMED, Crop, CropSet, draw_weights
from heme_train.recipe import Recipe
from heme_train.stain import Styles, measure_style

UNTOLD = -1
"""Target of a nucleated cell whose class nobody told."""


class Draws:
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
        """Draws in the epoch."""
        return len(self._order)

    def __getitem__(self, k: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int]:
        """Draw k: a crop uint8 ``[96, 96, 3]`` and the index of its class, or ``UNTOLD``."""
        rng = np.random.default_rng([self._recipe.seed, self._epoch, k])
        crop = self._cells[self._order[k]]
        image = self._augment(self._look(crop), self._look(self._other(k, rng)), rng)
        return image, self._target.get(crop.code, UNTOLD)

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
        if c.code not in UNNAMED:
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


def batches(draws: Draws, recipe: Recipe) -> Iterator[tuple[Any, Any]]:
    """Batches of crops uint8 ``[N, 96, 96, 3]`` and class indices ``[N]``, made by workers."""
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
