"""Fields to train the detector on: composed marrow, labelled fields, and whole crops."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.detect.classical import ClassicalDetector
from heme_edge.photos import read_photo
from heme_edge.sim.compose import (
    CELL,
    CLUMP,
    LARGE,
    Composed,
    ComposedCell,
    Marrow,
    compose,
)
from heme_edge.sim.ground import Ground, ground_of
from heme_edge.sim.lens import as_stain, photograph, random_lens
from heme_edge.sim.stock import Stock
from heme_train.data import CropSet

Rng = np.random.Generator
NOTHING, UNKNOWN = -1, -2
"""Kinds of places besides the numbers of heats: surely no cell, and not known."""
HEAT_OF = {CELL: 0, LARGE: 0, CLUMP: 1}
KNOWN_UM = 5.5
"""Around the middle of a crop of a crowded smear, so far is known what is there."""
CROP_CELL_PX = 64
"""A crop in a mosaic gets a square of this side (32 µm at 0.5 µm/px)."""
MIRRORED_PX = 288
"""Labelled fields smaller than this are mirrored until they are larger."""


@dataclass(frozen=True)
class Field:
    """A picture in which it is known where the cells are.

    Attributes:
        image: RGB uint8 ``[H, W, 3]`` at about 0.5 µm/px.
        um_per_px: what it is said to be.
        objects: ``[N, 4]``: x, y, radius (px; 0 = not known), number of the heat (or `UNKNOWN`).
        known: where it is known what is there, bool ``[H, W]``.
        thick: where it is too thick to read, bool ``[H, W]``.
    """

    image: Image
    um_per_px: float
    objects: NDArray[np.float32]
    known: NDArray[np.bool_]
    thick: NDArray[np.bool_]


Draw = Callable[[Rng], Field]


def random_marrow(rng: Rng, mix: dict[str, float]) -> Marrow:
    """From thin blood to packed marrow, with any proportions of the classes."""
    shares = {code: float(share * rng.lognormal(0, 1.0)) for code, share in mix.items()}
    return Marrow(
        cells=float(np.exp(rng.uniform(np.log(60), np.log(3600)))),
        touching=float(rng.uniform(0.1, 0.95)),
        mix=shares,
        drawn=float(rng.choice([0.0, 0.1, 0.5], p=[0.5, 0.35, 0.15])),
        platelets=float(rng.uniform(0, 900)),
        clumps=float(rng.uniform(0, 60)),
        smudges=float(rng.uniform(0, 120)),
        large=float(rng.choice([0.0, rng.uniform(5, 40)])),
        holes=float(rng.choice([0.0, rng.uniform(0, 40)])),
        mitoses=float(rng.uniform(0, 0.02)),
        thick=float(rng.choice([0.0, rng.uniform(0.05, 0.5)], p=[0.7, 0.3])),
    )


def composed_draw(stock: Stock, mix: dict[str, float], side_px: int) -> Draw:
    """Composed fields at 0.41 to 0.62 µm/px, said to be 0.5: no scale is known exactly."""

    def draw(rng: Rng) -> Field:
        um_per_px = float(np.exp(rng.normal(np.log(0.5), 0.09)))
        return of_composed(
            compose(
                stock,
                rng,
                width_px=side_px,
                height_px=side_px,
                um_per_px=um_per_px,
                marrow=random_marrow(rng, mix),
                lens=random_lens(rng),
            )
        )

    return draw


def of_composed(field: Composed) -> Field:
    """A composed field as one to train on; smudges and what is too thick are not known."""
    objects = [
        (c.x_px, c.y_px, c.radius_px, UNKNOWN if c.thick else HEAT_OF.get(c.kind, UNKNOWN))
        for c in field.cells
    ]
    return Field(
        field.image,
        field.um_per_px,
        np.array(objects, np.float32).reshape(-1, 4),
        ~field.thick,
        field.thick,
    )


@dataclass(frozen=True)
class Labelled:
    """A real field at its own scale.

    Attributes:
        image: RGB uint8.
        um_per_px: scale.
        boxes: of the nucleated cells, ``[N, 4]``: x0, y0, x1, y1 in px.
    """

    image: Image
    um_per_px: float
    boxes: NDArray[np.float32]


def read_labelled(
    images: Path, annotations: Path, split: Path, role: str, only: str, label: str, um_per_px: float
) -> list[Labelled]:
    """Fields of a role, with the boxes of one label."""
    with split.open(newline="") as file:
        names = [r["file"] for r in csv.DictReader(file) if r["role"] == role]
    boxes: dict[str, list[list[float]]] = {n: [] for n in names if fnmatch(n, only)}
    with annotations.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["file"] in boxes and row["label"] == label:
                boxes[row["file"]].append([float(row[k]) for k in ("x0", "y0", "x1", "y1")])
    return [
        Labelled(read_photo(images / name), um_per_px, np.array(some, np.float32).reshape(-1, 4))
        for name, some in boxes.items()
    ]


def as_composed(field: Labelled) -> Composed:
    """A labelled field as ``heme_edge.sim.scoring`` takes one."""
    size = np.sqrt(np.prod(field.boxes[:, 2:] - field.boxes[:, :2], axis=1))
    middle = (field.boxes[:, :2] + field.boxes[:, 2:]) / 2
    cells = tuple(
        ComposedCell(float(x), float(y), float(side) / 2, CELL, "", False, False)
        for (x, y), side in zip(middle, size, strict=True)
    )
    thick = np.zeros(field.image.shape[:2], np.bool_)
    return Composed(field.image, field.um_per_px, cells, thick)


def grounds_of(fields: Sequence[Labelled]) -> list[Ground]:
    """Fields in which there is surely no nucleated cell, as grounds to compose on."""
    finder = ClassicalDetector(min_score=0.1)
    return [
        ground_of(f.image, f.um_per_px)
        for f in fields
        if not len(f.boxes) and not finder.find(f.image, f.um_per_px)
    ]


def labelled_draw(fields: Sequence[Labelled]) -> Draw:
    """Real fields at about 0.5 µm/px, seen through other lenses."""

    def draw(rng: Rng) -> Field:
        return _relit(_scaled(fields[int(rng.integers(len(fields)))], rng), rng)

    return draw


def _scaled(field: Labelled, rng: Rng) -> Field:
    scale = field.um_per_px / float(np.exp(rng.normal(np.log(0.5), 0.09)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.asarray(
        cv2.resize(field.image, None, fx=scale, fy=scale, interpolation=how), np.uint8
    )
    scales = np.array(image.shape[1::-1]) / field.image.shape[1::-1]
    low, high = field.boxes[:, :2] * scales, field.boxes[:, 2:] * scales
    radius = np.sqrt(np.prod(high - low, axis=1)) / 2
    objects = np.column_stack([(low + high) / 2 - 0.5, radius, np.zeros(len(low))])
    height, width = image.shape[:2]
    return _mirrored(
        Field(
            image,
            field.um_per_px / scale,
            objects.astype(np.float32),
            np.ones((height, width), np.bool_),
            np.zeros((height, width), np.bool_),
        )
    )


def _mirrored(field: Field) -> Field:
    """The field with its mirror images beside it until it is large enough."""
    for axis in (0, 1):
        while field.image.shape[axis] < MIRRORED_PX:
            field = _doubled(field, axis)
    return field


def _doubled(field: Field, axis: int) -> Field:
    column = 1 - axis
    other = field.objects.copy()
    other[:, column] = 2 * field.image.shape[axis] - 1 - other[:, column]
    image, known, thick = (
        np.concatenate([plane, np.flip(plane, axis)], axis)
        for plane in (field.image, field.known, field.thick)
    )
    return replace(
        field, image=image, known=known, thick=thick, objects=np.vstack([field.objects, other])
    )


def _relit(field: Field, rng: Rng) -> Field:
    """The field as another lamp, stain and lens would show it; places stay."""
    lens = replace(random_lens(rng), barrel=0.0, fringe=0.0, round_field=False, vignette=0.0)
    if rng.random() < 0.3:
        return field
    mixed = rng.uniform(0, 1) * (np.array(lens.stain) - np.eye(3)) + np.eye(3)
    softened = replace(lens, stain=as_stain(mixed), blur_um=lens.blur_um / 2)
    share = field.image.astype(np.float32) / np.float32(255)
    return replace(field, image=photograph(share, field.um_per_px, softened, rng))


def mosaic_draw(crops: CropSet, codes: dict[str, int], roles: Sequence[str], side_px: int) -> Draw:
    """Whole crops side by side, not cut out: what is in their middle is known, the rest is not.

    Args:
        crops: a crop set.
        codes: heat, `NOTHING` or `UNKNOWN` by class code.
        roles: to take crops from.
        side_px: of the field.
    """
    by_code = {code: crops.select(roles, codes=[code]) for code in codes}
    by_code = {code: some for code, some in by_code.items() if some}

    def draw(rng: Rng) -> Field:
        count = side_px // CROP_CELL_PX
        image = np.zeros((side_px, side_px, 3), np.uint8)
        known = np.zeros((side_px, side_px), np.bool_)
        objects = []
        for k in range(count * count):
            code = str(rng.choice(list(by_code)))
            crop = crops.image(by_code[code][int(rng.integers(len(by_code[code])))])
            y, x = (CROP_CELL_PX * v for v in divmod(k, count))
            square = _square(crop, rng)
            image[y : y + CROP_CELL_PX, x : x + CROP_CELL_PX] = square
            middle = (CROP_CELL_PX - 1) / 2
            reach = KNOWN_UM / 0.5
            known[y:, x:][_around(middle, reach)] = codes[code] != UNKNOWN
            if codes[code] >= 0:
                objects.append((x + middle, y + middle, 0.0, codes[code]))
        blank = np.zeros((side_px, side_px), np.bool_)
        field = Field(image, 0.5, np.array(objects, np.float32).reshape(-1, 4), known, blank)
        return _relit(field, rng)

    return draw


def _square(crop: Image, rng: Rng) -> Image:
    """A crop at 0.5 µm/px, turned, its border mirrored to the square of a mosaic."""
    side = round(crop.shape[0] * CROP_UM_PER_PX / 0.5 / 2) * 2
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    small = np.rot90(small, int(rng.integers(4)))
    if side > CROP_CELL_PX:
        cut = (side - CROP_CELL_PX) // 2
        small = small[cut : cut + CROP_CELL_PX, cut : cut + CROP_CELL_PX]
    margin = (CROP_CELL_PX - small.shape[0]) // 2
    return np.pad(small, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")


def _around(middle: float, reach: float) -> tuple[slice, slice]:
    one = slice(int(middle - reach), int(middle + reach) + 2)
    return one, one
