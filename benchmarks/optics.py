"""How much of a planted vignette and colour cast an optics profile takes away, and what it saves.

    benchmarks/optics.py --crops DIR [--fields 12] [--gains 1,0.8,0.55] [--vignette 0.4]

DIR holds class folders of test crops (``M6/0001.jpg``). Fields are composed of them, then dimmed
towards the corners and coloured. Prints JSON lines: the correction's residual, its time, and
accuracy of naming (detected and matched within 4 um) of the fields as composed, as planted, and as
corrected, with a profile that was measured on the planted fields themselves.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image, cut_crops
from heme_edge.detect import open_detector
from heme_edge.naming import Namer
from heme_edge.optics.apply import Corrector
from heme_edge.optics.measure import ScaleRequest, measure_profile
from heme_edge.optics.profile import OpticsProfile
from heme_edge.results import DetectedCell
from heme_edge.sim import draw_smear
from heme_edge.sim.palette import BACKGROUND
from heme_edge.sim.pasted import load_crops

UM_PER_PX = 0.23
SIZE = (1920, 1080)
NEAR_UM = 4.0


@dataclass(frozen=True)
class Field:
    """A composed field and its cells: x_px, y_px and code."""

    image: Image
    cells: list[tuple[float, float, str]]


def compose(seed: int, crops: Path) -> Field:
    real = load_crops(crops)
    width, height = (side * UM_PER_PX for side in SIZE)
    mix = dict.fromkeys(real.files, 1.0)
    smear = draw_smear(
        seed, width_um=width, height_um=height, um_per_px=UM_PER_PX, mix=mix, draw=real.draw
    )
    cells = [(c.x_um / UM_PER_PX, c.y_um / UM_PER_PX, c.code) for c in smear.cells]
    return Field(smear.image, [c for c in cells if c[2] in mix and c[2] != "PL"])


def planted(vignette: float, gains: tuple[float, ...]) -> NDArray[np.float32]:
    """What is multiplied into a field: full in the middle, ``1 - vignette`` in the corners."""
    x, y = np.linspace(-1, 1, SIZE[0])[None], np.linspace(-1, 1, SIZE[1])[:, None]
    light = 1 - vignette * (x * x + y * y) / 2
    return np.asarray(light[..., None] * np.array(gains), np.float32)


def spoilt(image: Image, by: NDArray[np.float32], rng: np.random.Generator) -> Image:
    noise = rng.normal(0, 1.5, image.shape)
    return np.asarray(np.clip(np.rint(image * by + noise), 0, 255), np.uint8)


def accuracies(namer: Namer, fields: list[Field], images: list[Image]) -> dict[str, float]:
    """Shares of all true cells found and named rightly, and named rightly where they truly lie."""
    right = true = found = placed = 0
    for field, image in zip(fields, images, strict=True):
        cells = namer.name_field(image, UM_PER_PX).cells
        at = np.array([(c.cell.x_px, c.cell.y_px) for c in cells]).reshape(-1, 2)
        there = [DetectedCell(x, y, 20.0, 1.0) for x, y, _ in field.cells]
        names = namer.name_crops(cut_crops(image, there, UM_PER_PX))
        for (x, y, code), name in zip(field.cells, names, strict=True):
            away = np.hypot(*(at - (x, y)).T) if len(at) else np.array([np.inf])
            near = bool(away.min() * UM_PER_PX <= NEAR_UM)
            true, found, placed = true + 1, found + near, placed + (name.code == code)
            right += near and cells[int(away.argmin())].name.code == code
    return {
        "n": true,
        "found": round(found / true, 4),
        "found_and_named": round(right / true, 4),
        "named_at_true_centres": round(placed / true, 4),
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
@click.option("--crops", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--fields", "count", default=12, show_default=True)
@click.option("--gains", default="1,0.8,0.55", show_default=True)
@click.option("--vignette", default=0.4, show_default=True)
@click.option("--precision", default="fp32", show_default=True)
def main(crops: Path, count: int, gains: str, vignette: float, precision: str) -> None:
    rng = np.random.default_rng(7)
    fields = [compose(900 + k, crops) for k in range(count)]
    by = planted(vignette, tuple(float(g) for g in gains.split(",")))
    bad = [spoilt(f.image, by, rng) for f in fields]
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
        "as composed": [f.image for f in fields],
        "vignette and cast": bad,
        "corrected": [correct(b) for b in bad],
        "corrected, white left alone": [Corrector(profile).correct(b) for b in bad],
    }
    for way, images in ways.items():
        print(json.dumps({"fields": way} | accuracies(namer, fields, images)), flush=True)


if __name__ == "__main__":
    main()
