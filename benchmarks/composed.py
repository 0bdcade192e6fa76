"""How well cells are found, and named after finding, in composed dense marrow.

    benchmarks/composed.py --fields FIELDS [--detector classical]

The cells are of crops of role `test`, half of the fields lie on real red-cell grounds of fields
of role `test`, all of it unseen in training. Prints one JSON line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from heme_edge.errors import HemeError
from heme_edge.results import DetectedCell
from heme_edge.sim.compose import Composed
from heme_edge.sim.lens import Lens
from heme_edge.sim.scoring import Score, score
from heme_train.detector.unseen import dense_fields, named_right, stock_unseen

if TYPE_CHECKING:
    from heme_edge.detect.base import Detector
    from heme_edge.naming import Namer


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
@click.option("--precision", default="int8", show_default=True, help="Of the detector.")
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
        figures = measure(
            dense_fields(stock, seed, count, None if any_lens else Lens()), detector, namer
        )
    except HemeError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
