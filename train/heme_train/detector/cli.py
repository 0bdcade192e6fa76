"""``heme-train detector``: trains the detector on composed and labelled fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.cli_support import field_options

if TYPE_CHECKING:
    from heme_train.detector.fields import Labelled
    from heme_train.detector.samples import Source

COMPOSED, LABELLED, CROPS = 0.62, 0.13, 0.12
"""Shares of the samples: composed marrow, each labelled camera if not said, whole crops."""
PLASMA_CELL = "L4"
SIDE_PX = 512
"""Of a composed field."""


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
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Bundle whose detector to go on from.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True,
              help="Highest rate of AdamW.")  # fmt: skip
@click.option("--labelled", type=click.FloatRange(0, 1), default=LABELLED, show_default=True,
              help="Share of the samples from each labelled camera; composed marrow has 0.62 and "
                   "whole crops 0.12 to begin with, then all are brought to 1.")  # fmt: skip
def detector(
    data: Path, fields: Path, annotations: Path, split: Path,
    cameras: tuple[tuple[str, float], ...], ground: tuple[tuple[str, float], ...], label: str,
    run: Path, steps: int, batch: int, workers: int, count: int, seed: int,
    weights: Path | None, rate: float, labelled: float,
) -> None:  # fmt: skip
    """Train the detector. The same command goes on after an interruption."""
    from heme_train.detector.fields import labelled_draw, read_labelled
    from heme_train.detector.fit import ABOUT, DetectorRecipe, fit_detector
    from heme_train.detector.samples import Source
    from heme_train.labelled_fields import FIT, Fields

    of_role = Fields(fields, annotations, split, FIT, label, "*", 0.0)

    def read(pattern: str, um_per_px: float) -> list[Labelled]:
        return read_labelled(replace(of_role, only=pattern, um_per_px=um_per_px))

    grounds = [one for pattern, um in ground for one in read(pattern, um)]
    sources = list(_crop_sources(data, grounds, count, seed))
    for pattern, um in cameras:
        sources.append(Source(labelled_draw(read(pattern, um)), labelled))
    recipe = DetectorRecipe(
        steps=steps, batch=batch, rate=rate, seed=seed, workers=workers,
        weights=str(weights or ""),
    )  # fmt: skip
    run.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": asdict(recipe),
        "crops": f"{count} of fold roles",
        "share_of_each_camera": labelled,
        "fields": [f"{p} at {um} µm/px, role {FIT}" for p, um in (*cameras, *ground)],
        "made": f"{date.today():%Y-%m-%d}",
    }
    (run / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    fit_detector(sources, recipe, run, click.echo)


def _crop_sources(data: Path, grounds: list[Labelled], count: int, seed: int) -> Iterator[Source]:
    """Composed fields and mosaics, of crops of the fold roles alone."""
    from heme_train.data import FOLDS, open_crops
    from heme_train.detector.fields import (
        NO_CELL,
        NOT_KNOWN,
        NOTHING,
        UNKNOWN,
        composed_draw,
        grounds_of,
        marrow_mix,
        mosaic_draw,
        stock_from,
    )
    from heme_train.detector.samples import Source

    crops = open_crops(data)
    stock = stock_from(crops, FOLDS, count, seed, grounds_of(grounds))
    click.echo(
        f"{stock.count} cells cut out of {stock.count + stock.left_out} crops ({stock.left_out} "
        f"left out: crowded or cut), {len(stock.grounds)} real grounds"
    )
    codes = {c.code: 0 for c in crops.select(FOLDS)}
    codes |= dict.fromkeys(NO_CELL, NOTHING) | dict.fromkeys(NOT_KNOWN, UNKNOWN)
    mix = marrow_mix(stock) | {PLASMA_CELL: 2.0}  # drawn: there are no crops of them
    yield Source(composed_draw(stock, mix, SIDE_PX), COMPOSED)
    yield Source(mosaic_draw(crops, codes, FOLDS, SIDE_PX), CROPS)
