"""How well cells are found, and named after finding, in composed dense marrow.

    benchmarks/composed.py --fields FIELDS [--detector classical]

The cells are of crops of role `test`, half of the fields lie on real red-cell grounds of fields
of role `test`, all of it unseen in training. Prints one JSON line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from heme_edge.errors import HemeError
from heme_edge.results import NUCLEATED, DetectedCell
from heme_edge.sim.compose import CELL, Composed, Marrow, compose
from heme_edge.sim.lens import Lens, random_lens
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.scoring import WITHIN_UM, Score, pairs, score
from heme_edge.sim.stock import Stock, stock_of

if TYPE_CHECKING:
    from heme_edge.detect.base import Detector
    from heme_edge.naming import Namer

LEAST_CELLS, LEAST_TOUCHING = 150, 0.40
GROUND_UM_PER_PX = 0.19
"""Of the fields of chula."""


def stock_unseen(data: Path, fields: Path, seed: int, count: int) -> Stock:
    """Cells and grounds of role `test`."""
    from heme_train.data import TEST, open_crops
    from heme_train.detector.cli import NOT_KNOWN
    from heme_train.detector.fields import grounds_of, read_labelled
    from heme_train.labelled_fields import Fields

    crops = open_crops(data / "crops")
    usable = [c for c in crops.select((TEST,)) if c.code not in NOT_KNOWN]
    order = np.random.default_rng(seed).permutation(len(usable))[:count]
    lists = data / "fields"
    tables = lists / "annotations.csv", lists / "split.csv"
    grounds = read_labelled(Fields(fields, *tables, TEST, "wbc", "chula/*", GROUND_UM_PER_PX))
    return stock_of(((usable[i].code, crops.image(usable[i])) for i in order), grounds_of(grounds))


def dense_fields(stock: Stock, seed: int, count: int, any_lens: bool) -> Iterator[Composed]:
    """Fields 1920x1080 at 0.23 µm/px with at least 150 nucleated cells, 40 % of them touching."""
    mix = {code: NORMAL_MARROW.get(code, 1.0) for code in stock.cells if code != "PL"}
    given, made = 0, 0
    while given < count:
        rng = np.random.default_rng([seed, made])
        real = int(rng.integers(len(stock.grounds))) if given % 2 and stock.grounds else None
        plain = stock if real is not None else replace(stock, grounds=())
        lens = random_lens(rng) if any_lens else Lens()
        field = compose(
            plain, rng, marrow=Marrow(cells=2300.0, mix=mix), ground=real,
            lens=replace(lens, round_field=False),
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
    from heme_edge.crops import cut_crops

    true = [c for c in field.nucleated() if c.kind == CELL and c.code in namer.bundle.codes]
    found = [c for c in cells if c.kind == NUCLEATED]
    matched = pairs([(c.x_px, c.y_px) for c in true], found, WITHIN_UM / field.um_per_px)
    names = namer.name_crops(
        cut_crops(field.image, [found[f] for f in matched.values()], field.um_per_px)
    )
    right = [name.code == true[k].code for k, name in zip(matched, names, strict=True)]
    return len(right), sum(right)


def measure(fields: Iterator[Composed], detector: Detector, namer: Namer) -> dict[str, Any]:
    """All figures."""
    total, cells, touching, ms = Score(), 0, 0, []
    named = {"detected": np.zeros(2, int), "true": np.zeros(2, int)}
    for field in fields:
        start = time.perf_counter()
        finds = detector.find(field.image, field.um_per_px)
        ms.append(1000 * (time.perf_counter() - start))
        total += score(field, finds)
        true = field.nucleated()
        cells += len(true)
        touching += sum(c.touching for c in true)
        at = [DetectedCell(c.x_px, c.y_px, c.radius_px, 1.0) for c in true]
        named["detected"] += named_right(field, finds, namer)
        named["true"] += named_right(field, at, namer)
    accuracy = {f"accuracy_at_{k}_centres": round(float(v[1] / v[0]), 4) for k, v in named.items()}
    return {
        "detector": detector.name,
        "fields": len(ms),
        "cells_per_field": round(cells / len(ms), 1),
        "touching_share": round(touching / cells, 3),
        **total.as_dict(),
        **accuracy,
        "ms_per_field": round(float(np.median(ms)), 1),
    }


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), envvar="HEME_DATA",
              required=True, help="Folder with crops/ and fields/.")  # fmt: skip
@click.option("--fields", type=click.Path(exists=True, path_type=Path), required=True,
              help="fields/fields.tar unpacked.")  # fmt: skip
@click.option("--detector", "name", default="auto", show_default=True)
@click.option("--bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--precision", default="fp32", show_default=True, help="Of the detector.")
@click.option("--count", default=20, show_default=True, help="Fields.")
@click.option("--crops", default=2500, show_default=True, help="Crops that cells are cut from.")
@click.option("--seed", default=99, show_default=True)
@click.option("--any-lens", is_flag=True, help="Any lamp, stain and lens, phones among them.")
def main(
    data: Path, fields: Path, name: str, bundle: Path | None, precision: str, count: int,
    crops: int, seed: int, any_lens: bool,
) -> None:  # fmt: skip
    """Recall, precision and naming on composed dense marrow, as one JSON line."""
    from heme_edge.backends import open_backend
    from heme_edge.bundle import load_bundle
    from heme_edge.detect import open_detector
    from heme_edge.naming import Namer

    try:
        opened = load_bundle(bundle)
        detector = open_detector(name, opened, precision)
        namer = Namer(opened, open_backend(opened, "onnxruntime", "int8"), detector)
        stock = stock_unseen(data, fields, seed, crops)
        figures = measure(dense_fields(stock, seed, count, any_lens), detector, namer)
    except HemeError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
