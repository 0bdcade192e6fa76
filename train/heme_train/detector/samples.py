"""Samples of the detector's training: a cut of a field, and what the network shall say of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from heme_edge.detect.classical import WORKING_UM_PER_PX
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.detect.learned import STRIDE, normalised
from heme_train.detector.fields import UNKNOWN, Draw, Field
from heme_train.detector.net import HEATS

Rng = np.random.Generator
SIDE_PX = 256
POOL = 160
"""Fields held by each worker; samples are cut from them."""
PER_FIELD = 12
"""So many samples are cut before one field of the pool is made anew."""
SPREAD = 0.28
LEAST_SPREAD = 0.8
"""Sigma of a peak in the heat: a share of the radius, in grid steps; and the least."""
GAIN_SPREAD = 0.06

Sample = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """Where fields come from and which share of the samples is cut from them."""

    draw: Draw
    share: float


class Samples(IterableDataset[Any]):
    """Endless samples: input ``[3, 256, 256]`` and target ``[8, 64, 64]`` (see `target_of`)."""

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self._sources, self._seed = tuple(sources), seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each worker has a pool and a seed of its own."""
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        pool: list[Field] = []
        shares = np.array([s.share for s in self._sources])
        while True:
            drawn = self._sources[int(rng.choice(len(shares), p=shares / shares.sum()))].draw(rng)
            if len(pool) < POOL:
                pool.append(drawn)
            else:
                pool[int(rng.integers(POOL))] = drawn
            for _ in range(PER_FIELD):
                field, target = sample_of(pool[int(rng.integers(len(pool)))], rng)
                yield torch.from_numpy(field), torch.from_numpy(target)


def sample_of(field: Field, rng: Rng) -> Sample:
    """A cut of a field, turned, mirrored and with another white, and its target."""
    height, width = field.image.shape[:2]
    y, x = (int(rng.integers(0, side - SIDE_PX + 1)) for side in (height, width))
    window = slice(y, y + SIDE_PX), slice(x, x + SIDE_PX)
    objects = field.objects.copy()
    objects[:, 0] -= x
    objects[:, 1] -= y
    image = field.image[window]
    image = normalised(image, field_of_view(image))
    planes: list[NDArray[Any]] = [image, field.known[window], field.thick[window]]
    for axis in (0, 1):
        if rng.random() < 0.5:
            planes = [np.flip(p, axis) for p in planes]
            objects[:, 1 - axis] = SIDE_PX - 1 - objects[:, 1 - axis]
    if rng.random() < 0.5:
        planes = [np.swapaxes(p, 0, 1) for p in planes]
        objects[:, :2] = objects[:, 1::-1]
    light = planes[0] * np.exp(rng.normal(0, GAIN_SPREAD, 3)) * np.exp(rng.normal(0, GAIN_SPREAD))
    inputs = np.clip(light, 0, 255).astype(np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(inputs), target_of(objects, planes[1], planes[2])


def target_of(
    objects: NDArray[np.float32], known: NDArray[np.bool_], thick: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """What the network shall say, ``[8, H/4, W/4]``.

    Planes: two heats, ln radius (µm at the scale the picture is said to have), offsets x and y
    (grid steps), thick, where heats count, where radius (0, 1 for offsets alone, 2 for both).
    """
    shape = known.shape[0] // STRIDE, known.shape[1] // STRIDE
    target = np.zeros((8, *shape), np.float32)
    corner = slice(STRIDE // 2, None, STRIDE)
    target[5], target[6] = thick[corner, corner], known[corner, corner]
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    for x_px, y_px, radius, heat in objects:
        x, y = (float(v - (STRIDE - 1) / 2) / STRIDE for v in (x_px, y_px))
        away = (columns - x) ** 2 + (rows - y) ** 2
        if heat == UNKNOWN:
            target[6][away < (radius / STRIDE) ** 2] = 0
            continue
        sigma = max(LEAST_SPREAD, SPREAD * float(radius or 12.0) / STRIDE)
        peak = np.exp(-away / np.float32(2 * sigma**2))
        row, column = round(y), round(x)
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            peak[row, column] = 1.0
        target[int(heat)] = np.maximum(target[int(heat)], peak)
        own = (away < np.minimum(nearest, 2.3)) & (heat < HEATS)
        nearest[own] = away[own]
        target[2][own] = np.log(max(float(radius), 1.0) * WORKING_UM_PER_PX)
        target[3][own], target[4][own] = (x - columns)[own], (y - rows)[own]
        target[7][own] = 2.0 if radius else 1.0
    return target
