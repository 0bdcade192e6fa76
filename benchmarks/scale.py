"""µm/px by red cells on whole fields, against red cells measured by hand.

One JSON line per set: the estimate with its interval over all fields together, the hand value, the
error; how far the estimate follows copies of the fields rescaled by known factors; and what single
fields give. What is measured on is role ``test``; ``--role fit`` was for choosing.

    python benchmarks/scale.py --images fields/ --split fields/split.csv
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from heme_edge.crops import Image

HAND = Path(__file__).with_name("hand_measured_red_cells.csv")
RED_CELL_UM = {"bccd": 7.5, "chula": 7.5, "phone": 6.0}
ZOOMS = (0.5, 0.7, 1.4, 2.0)


def hand_um_per_px(name: str) -> float:
    """Scale by the mean of the cells of one set that were measured by hand."""
    with HAND.open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"].startswith(f"{name}/")]
    return RED_CELL_UM[name] / float(np.mean([float(row["diameter_px"]) for row in rows]))


def _files(split: Path, name: str, role: str) -> list[str]:
    with split.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return [r["file"] for r in rows if r["file"].startswith(f"{name}/") and r["role"] == role]


def _zoomed(image: Image, zoom: float) -> Image:
    import cv2

    if zoom == 1:
        return image
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=how), np.uint8)


def _rescaled_errors(images: list[Image], um: float, whole: float) -> dict[str, float | str]:
    """Error of the estimate on rescaled copies, or the sentence that refused them."""
    from heme_edge.optics.scale import scale_from_red_cells

    errors: dict[str, float | str] = {}
    for zoom in ZOOMS:
        try:
            scale = scale_from_red_cells([_zoomed(image, zoom) for image in images], um)
            errors[str(zoom)] = round(scale.um_per_px * zoom / whole - 1, 4)
        except HemeError as error:
            errors[str(zoom)] = error.message
    return errors


def _single_fields(images: list[Image], um: float, hand: float) -> dict[str, float | int | None]:
    """How often one field is enough, its error against the hand value, and its time."""
    from heme_edge.optics.scale import scale_from_red_cells

    errors: list[float] = []
    start = time.perf_counter()
    for image in images:
        try:
            errors.append(scale_from_red_cells([image], um).um_per_px / hand - 1)
        except HemeError:
            continue
    seconds = time.perf_counter() - start
    away = np.abs(errors)
    return {
        "fields": len(images),
        "enough": len(errors),
        "error_median": round(float(np.median(away)), 4) if errors else None,
        "error_p90": round(float(np.percentile(away, 90)), 4) if errors else None,
        "error_max": round(float(np.max(away)), 4) if errors else None,
        "s_per_field": round(seconds / len(images), 3),
    }


def measure(images: list[Image], name: str) -> dict[str, object]:
    """All figures of one set."""
    from heme_edge.optics.scale import scale_from_red_cells

    um, hand = RED_CELL_UM[name], hand_um_per_px(name)
    scale = scale_from_red_cells(images, um)
    return {
        "set": name,
        "um_per_px": round(scale.um_per_px, 4),
        "low95": round(scale.low95, 4),
        "high95": round(scale.high95, 4),
        "cells": scale.cells,
        "hand_um_per_px": round(hand, 4),
        "error": round(scale.um_per_px / hand - 1, 4),
        "rescaled_errors": _rescaled_errors(images, um, scale.um_per_px),
        "single_fields": _single_fields(images, um, hand),
    }


@click.command()
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of fields.")
@click.option("--split", type=click.Path(path_type=Path), required=True, help="CSV: file, role.")
@click.option("--role", default="test", show_default=True, help="Files of --split to use.")
@click.option("--every", default=1, show_default=True, help="Use only each n-th field.")
@click.option("--only", type=click.Choice(sorted(RED_CELL_UM)), help="One set.")
def main(images: Path, split: Path, role: str, every: int, only: str | None) -> None:
    """µm/px by red cells against hand-measured cells, one JSON line per set."""
    from heme_edge.photos import read_photo

    for name in [only] if only else RED_CELL_UM:
        try:
            files = _files(split, name, role)[::every]
            fields = [read_photo(images / file) for file in files]
            click.echo(json.dumps(measure(fields, name)))
        except HemeError as error:
            raise click.ClickException(f"{error.message} {error.hint}".strip()) from error


if __name__ == "__main__":
    main()
