"""``heme-train detector``: trains the detector on composed and labelled fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.cli_support import field_options

if TYPE_CHECKING:
    from heme_train.detector.fields import Labelled
    from heme_train.detector.samples import Source

COMPOSED, LABELLED, CROPS = 0.62, 0.13, 0.12
"""Shares of the samples: composed marrow, each labelled camera, whole crops."""
NO_CELL, NOT_KNOWN = ("PL",), ("U1",)
"""Classes whose crops show no cell that is looked for, and those of which nobody can say."""
GROUND_UM_PER_PX = 0.19


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True,
              help="Crops; only fold roles are used.")  # fmt: skip
@click.option("--ground", "ground", type=(str, float), multiple=True, metavar="PATTERN UM",
              help="Fields of red cells alone, to compose on. Repeatable.")  # fmt: skip
@field_options
@click.option("--run", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(1), default=12000, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=1, show_default=True)
@click.option("--crops", "count", type=click.IntRange(1), default=6000, show_default=True,
              help="Crops that cells are cut from.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
def detector(
    data: Path, fields: Path, annotations: Path, split: Path,
    cameras: tuple[tuple[str, float], ...], ground: tuple[tuple[str, float], ...], label: str,
    run: Path, steps: int, batch: int, workers: int, count: int, seed: int,
) -> None:  # fmt: skip
    """Train the detector. The same command goes on after an interruption."""
    from heme_train.detector.fields import labelled_draw, read_labelled
    from heme_train.detector.fit import ABOUT, DetectorRecipe, fit_detector
    from heme_train.detector.samples import Source

    def read(pattern: str, um_per_px: float, name: str = label) -> list[Labelled]:
        return read_labelled(fields, annotations, split, "fit", pattern, name, um_per_px)

    grounds = [one for pattern, um in ground for one in read(pattern, um)]
    sources = list(_crop_sources(data, grounds, count, seed))
    for pattern, um in cameras:
        sources.append(Source(labelled_draw(read(pattern, um)), LABELLED))
    recipe = DetectorRecipe(steps=steps, batch=batch, seed=seed, workers=workers)
    run.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": asdict(recipe),
        "crops": f"{count} of fold roles",
        "fields": [f"{p} at {um} µm/px, role fit" for p, um in (*cameras, *ground)],
        "made": f"{date.today():%Y-%m-%d}",
    }
    (run / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    fit_detector(sources, recipe, run, click.echo)


def _crop_sources(data: Path, grounds: list[Labelled], count: int, seed: int) -> Iterator[Source]:
    """Composed fields and mosaics, of crops of the fold roles alone."""
    import numpy as np

    from heme_edge.sim.recipes import NORMAL_MARROW
    from heme_edge.sim.stock import stock_of
    from heme_train.data import FOLDS, open_crops
    from heme_train.detector.fields import (
        NOTHING,
        UNKNOWN,
        composed_draw,
        grounds_of,
        mosaic_draw,
    )
    from heme_train.detector.samples import Source

    crops = open_crops(data)
    usable = [c for c in crops.select(FOLDS) if c.code not in NOT_KNOWN]
    order = np.random.default_rng(seed).permutation(len(usable))[:count]
    stock = stock_of(((usable[i].code, crops.image(usable[i])) for i in order), grounds_of(grounds))
    click.echo(
        f"{stock.count} cells cut out of {len(order)} crops ({stock.left_out} left out: crowded "
        f"or cut), {len(stock.grounds)} real grounds"
    )
    codes = {c.code: 0 for c in usable}
    codes |= dict.fromkeys(NO_CELL, NOTHING) | dict.fromkeys(NOT_KNOWN, UNKNOWN)
    mix = {code: NORMAL_MARROW.get(code, 1.0) for code in stock.cells if code not in NO_CELL}
    mix |= {"L4": 2.0}
    yield Source(composed_draw(stock, mix, 512), COMPOSED)
    yield Source(mosaic_draw(crops, codes, FOLDS, 512), CROPS)
