"""Composed marrow that nothing was trained or chosen on, for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from heme_edge.crops import cut_crops
from heme_edge.naming import Namer
from heme_edge.results import NUCLEATED, DetectedCell
from heme_edge.sim.compose import CELL, Composed, Marrow, compose
from heme_edge.sim.lens import Lens, random_lens
from heme_edge.sim.scoring import WITHIN_UM, pairs
from heme_edge.sim.stock import Stock
from heme_train.data import TEST, open_crops
from heme_train.detector.fields import grounds_of, marrow_mix, read_labelled, stock_from
from heme_train.labelled_fields import Fields

LEAST_CELLS, LEAST_TOUCHING = 150, 0.40
GROUND_UM_PER_PX = 0.19
"""Of the fields of chula."""


def stock_unseen(data: Path, fields: Path, seed: int, count: int) -> Stock:
    """Cells and grounds of role ``test``.

    Args:
        data: folder with ``crops/`` and ``fields/``.
        fields: the pictures of ``fields/``, unpacked.
        seed: draws the crops.
        count: crops at most.
    """
    crops = open_crops(data / "crops")
    lists = data / "fields"
    tables = lists / "annotations.csv", lists / "split.csv"
    grounds = read_labelled(Fields(fields, *tables, TEST, "wbc", "chula/*", GROUND_UM_PER_PX))
    return stock_from(crops, (TEST,), count, seed, grounds_of(grounds))


def dense_fields(
    stock: Stock, seed: int, count: int, lens: Lens | None = None
) -> Iterator[Composed]:
    """Fields 1920x1080 at 0.23 µm/px with at least 150 nucleated cells, 40 % of them touching.

    Args:
        stock: cells and grounds; every second field lies on one of them, the others on drawn ones.
        seed: draws everything.
        count: fields.
        lens: how they are pictured; None draws one for each.
    """
    marrow = Marrow(cells=2300.0, mix=marrow_mix(stock))
    given, made = 0, 0
    while given < count:
        rng = np.random.default_rng([seed, made])
        real = int(rng.integers(len(stock.grounds))) if given % 2 and stock.grounds else None
        plain = stock if real is not None else replace(stock, grounds=())
        seen = replace(lens or random_lens(rng), round_field=False)
        field = compose(
            plain, rng, marrow=marrow, ground=real, lens=seen
        )  # fmt: skip
        made += 1
        cells = field.nucleated()
        if len(cells) >= LEAST_CELLS and np.mean([c.touching for c in cells]) >= LEAST_TOUCHING:
            given += 1
            yield field


def named_right(field: Composed, cells: Sequence[DetectedCell], namer: Namer) -> tuple[int, int]:
    """How many nucleated cells were found there, and how many of these got their own name.

    Only classes that the bundle knows count.
    """
    true = [c for c in field.nucleated() if c.kind == CELL and c.code in namer.bundle.codes]
    found = [c for c in cells if c.kind == NUCLEATED]
    matched = pairs([(c.x_px, c.y_px) for c in true], found, WITHIN_UM / field.um_per_px)
    names = namer.name_crops(
        cut_crops(field.image, [found[f] for f in matched.values()], field.um_per_px)
    )
    right = [name.code == true[k].code for k, name in zip(matched, names, strict=True)]
    return len(right), sum(right)
