"""How much of a planted vignette and colour cast an optics profile takes away, and what it saves.

    benchmarks/optics.py --fields FIELDS [--count 12] [--gains 1,0.8,0.55] [--vignette 0.4]

Dense marrow is composed of crops of role `test`, then dimmed towards the corners and coloured.
Prints JSON lines: the correction's residual, its time, and accuracy of naming (detected and
matched within 4 um) of the fields as composed, as planted, and as corrected, with a profile that
was measured on the planted fields themselves.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.detect import open_detector
from heme_edge.naming import Namer
from heme_edge.optics.apply import Corrector
from heme_edge.optics.measure import ScaleRequest, measure_profile
from heme_edge.optics.profile import OpticsProfile
from heme_edge.results import DetectedCell
from heme_edge.sim.compose import Composed
from heme_edge.sim.lens import Lens
from heme_edge.sim.palette import BACKGROUND
from heme_train.detector.unseen import dense_fields, named_right, stock_unseen

UM_PER_PX = 0.23
SIZE = (1920, 1080)
CROPS = 2500
LENS = Lens(white=BACKGROUND, vignette=0.0)
"""Even light: what is uneven is planted."""


def planted(vignette: float, gains: tuple[float, ...]) -> NDArray[np.float32]:
    """What is multiplied into a field: full in the middle, ``1 - vignette`` in the corners."""
    x, y = np.linspace(-1, 1, SIZE[0])[None], np.linspace(-1, 1, SIZE[1])[:, None]
    light = 1 - vignette * (x * x + y * y) / 2
    return np.asarray(light[..., None] * np.array(gains), np.float32)


def spoilt(image: Image, by: NDArray[np.float32], rng: np.random.Generator) -> Image:
    noise = rng.normal(0, 1.5, image.shape)
    return np.asarray(np.clip(np.rint(image * by + noise), 0, 255), np.uint8)


def accuracies(namer: Namer, fields: list[Composed], images: list[Image]) -> dict[str, float]:
    """Shares of all true cells found and named rightly, and named rightly where they truly lie."""
    count, found, placed = 0, np.zeros(2, int), np.zeros(2, int)
    for field, image in zip(fields, images, strict=True):
        seen = replace(field, image=image)
        true = [DetectedCell(c.x_px, c.y_px, c.radius_px, 1.0) for c in field.nucleated()]
        found += named_right(seen, namer.detector.find(image, field.um_per_px), namer)
        here = named_right(seen, true, namer)
        placed, count = placed + here, count + here[0]
    return {
        "n": count,
        "found": round(float(found[0] / count), 4),
        "found_and_named": round(float(found[1] / count), 4),
        "named_at_true_centres": round(float(placed[1] / count), 4),
    }


def residual(profile: OpticsProfile, by: NDArray[np.float32], target: list[float]) -> float:
    """Largest difference, in per cent, of an empty slide's colour from the target, anywhere."""
    below_white = [0.85 * value for value in target]  # a clipped channel would look even
    corrector = Corrector(profile, below_white)
    empty = spoilt(np.full((*SIZE[::-1], 3), BACKGROUND, np.uint8), by, np.random.default_rng(1))
    seen = corrector.correct(empty).astype(np.float32)
    smooth = seen.reshape(SIZE[1] // 24, 24, SIZE[0] // 24, 24, 3).mean((1, 3))
    return float(100 * np.abs(smooth / np.median(smooth, (0, 1)) - 1).max())


def cast_left(profile: OpticsProfile, by: NDArray[np.float32], target: list[float]) -> float:
    """The same of the mean colour alone: how far the white point is from the target, in per cent.

    The exposure (the mean of the three channels) is left out.
    """
    below_white = [0.85 * value for value in target]
    empty = spoilt(np.full((*SIZE[::-1], 3), BACKGROUND, np.uint8), by, np.random.default_rng(1))
    white = Corrector(profile, below_white).correct(empty).mean((0, 1)) / np.array(target)
    return float(100 * np.abs(white / white.mean() - 1).max())


def milliseconds(profile: OpticsProfile, image: Image) -> float:
    corrector, times = Corrector(profile), []
    corrector.correct(image)
    for _ in range(30):
        start = time.perf_counter()
        corrector.correct(image)
        times.append(1000 * (time.perf_counter() - start))
    return round(float(np.median(times)), 2)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), envvar="HEME_DATA",
              required=True, help="Folder with crops/ and fields/.")  # fmt: skip
@click.option("--fields", type=click.Path(exists=True, path_type=Path), required=True,
              help="fields/fields.tar unpacked.")  # fmt: skip
@click.option("--count", default=12, show_default=True, help="Fields.")
@click.option("--seed", default=17, show_default=True)
@click.option("--gains", default="1,0.8,0.55", show_default=True)
@click.option("--vignette", default=0.4, show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(
    data: Path, fields: Path, count: int, seed: int, gains: str, vignette: float, precision: str
) -> None:
    rng = np.random.default_rng(7)
    stock = stock_unseen(data, fields, seed, CROPS)
    made = list(dense_fields(stock, seed, count, LENS))
    by = planted(vignette, tuple(float(g) for g in gains.split(",")))
    bad = [spoilt(f.image, by, rng) for f in made]
    bundle = load_bundle()
    target = bundle.info.optics["white_rgb"]
    for number in sorted({1, min(4, count), count}):
        profile = measure_profile(bad[:number], [], ScaleRequest(UM_PER_PX), lambda _: None)
        said = {
            "profile_from_fields": number,
            "vignette": vignette,
            "gains": gains,
            "unevenness_left_percent": round(residual(profile, by, target), 2),
            "cast_left_percent": round(cast_left(profile, by, target), 2),
            "ms_1920x1080": milliseconds(profile, bad[0]),
        }
        print(json.dumps(said), flush=True)
    namer = Namer(bundle, open_backend(bundle, "onnxruntime", precision), open_detector())
    correct = Corrector(profile, target).correct
    ways = {
        "as composed": [f.image for f in made],
        "vignette and cast": bad,
        "corrected": [correct(b) for b in bad],
        "corrected, white left alone": [Corrector(profile).correct(b) for b in bad],
    }
    for way, images in ways.items():
        print(json.dumps({"fields": way} | accuracies(namer, made, images)), flush=True)


if __name__ == "__main__":
    main()
