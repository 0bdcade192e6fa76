"""What the field score says of sharp, blurred and thick fields.

    benchmarks/field_score.py --fields DIR [--role test]

Real fields (bccd, phone, chula) as they are and blurred by known amounts, and drawn smears upon
each other. Prints a line for each: fields, readable, out-of-focus, too-thick, and the share of
readable regions.
"""

from __future__ import annotations

import csv
import tarfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    from heme_edge.crops import Image

UM_PER_PX = {"bccd": 0.072, "phone": 0.55, "chula": 0.19}
BLURS_UM = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0)
DRAWN_UM_PER_PX = 0.25
SMEARS = 8


@click.command()
@click.option("--fields", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--role", default="test", show_default=True)
def main(fields: Path, role: str) -> None:
    """Prints the table and the time a field of 1920x1080 px takes."""
    for source, um_per_px in UM_PER_PX.items():
        images = real_fields(fields, source, role)
        for blur in BLURS_UM:
            line(f"{source} + {blur} µm", (blurred(i, blur / um_per_px) for i in images), um_per_px)
    first = 0 if role == "fit" else 100
    smears = [smear(first + seed) for seed in range(SMEARS)]
    for layers in (1, 2, 3, 4, 6):
        heaps = (heap(smears[at : at + layers]) for at in range(SMEARS + 1 - layers))
        line(f"{layers} smears deep", heaps, DRAWN_UM_PER_PX)
    click.echo(f"{milliseconds(smears[0]):.0f} ms for 1920x1080 px")


def real_fields(folder: Path, source: str, role: str) -> list[Image]:
    """The labelled fields of one source and role."""
    from heme_edge.photos import decode_photo

    with (folder / "split.csv").open(newline="") as file:
        wanted = {r["file"] for r in csv.DictReader(file) if r["role"] == role}
    with tarfile.open(folder / "fields.tar") as tar:
        files = [tar.extractfile(m) for m in tar if m.name in wanted and m.name.startswith(source)]
        return [decode_photo(file.read()) for file in files if file is not None]


def blurred(image: Image, sigma_px: float) -> Image:
    """The same out of focus, as a Gaussian."""
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8) if sigma_px else image


def smear(seed: int) -> Image:
    """A drawn monolayer of 320 x 200 µm, sparse to rich."""
    from heme_edge.sim import draw_smear

    density = (800.0, 1700.0, 2500.0)[seed % 3]
    scale = DRAWN_UM_PER_PX
    return draw_smear(
        seed, width_um=320, height_um=200, um_per_px=scale, cells_per_mm2=density
    ).image


def heap(layers: list[Image]) -> Image:
    """Smears upon each other: their shares of the light multiply."""
    from heme_edge.sim.palette import BACKGROUND

    lamp = np.array(BACKGROUND, np.float32)
    light = np.prod([layer / lamp for layer in layers], axis=0)
    return np.asarray(np.clip(np.rint(light * lamp), 0, 255), np.uint8)


def line(what: str, images: Iterable[Image], um_per_px: float) -> None:
    """Scores fields and prints one row."""
    from heme_edge.field_score import READABLE, VERDICTS, score_field

    scores = [score_field(image, um_per_px) for image in images]
    found = Counter(score.verdict for score in scores)
    regions = np.concatenate([score.regions.ravel() for score in scores])
    share = 100 * float(np.mean(regions == VERDICTS.index(READABLE)))
    words = ", ".join(f"{n} {verdict}" for verdict, n in sorted(found.items()))
    click.echo(f"{what:16} {len(scores):4} fields: {words}; {share:.1f} % of regions readable")


def milliseconds(image: Image, rounds: int = 21) -> float:
    """Median time of one field of 1920x1080 px."""
    from heme_edge.field_score import score_field

    full = np.ascontiguousarray(np.tile(image, (2, 2, 1))[:1080, :1920])
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        score_field(full, DRAWN_UM_PER_PX)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


if __name__ == "__main__":
    main()
