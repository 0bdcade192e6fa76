"""How fast ``heme-edge classify --crops`` is beside the same network in eager torch.

Three ways over the same files with the same decoder and threads, in turn, in one process:
the runtime from file to CSV; torch eager at batch 32; and the published way, one image at a
time. Prints one JSON line with median crops/s of each and the ratios of the medians.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from heme_edge.bundle import load_bundle
from heme_edge.crops import CROP_UM_PER_PX, Image, centre_crop
from heme_edge.offline import Request, run
from heme_edge.photos import find_photos, read_photo

BATCH = 32


@click.command()
@click.option("--crops", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--precision", default="auto", show_default=True)
def main(crops: Path, rounds: int, threads: int, precision: str) -> None:
    """Compare crops/s over the files in --crops."""
    files = find_photos(crops)
    network = _torch_network(threads)
    ways: dict[str, Callable[[], None]] = {
        "heme_edge": lambda: _runtime(crops, precision),
        "torch_batch_32": lambda: _torch(network, files, BATCH),
        "torch_one_at_a_time": lambda: _torch(network, files[: max(1, len(files) // 4)], 1),
    }
    done = {"torch_one_at_a_time": max(1, len(files) // 4)}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(rounds + 1):
        for way, work in ways.items():
            started = time.perf_counter()
            work()
            if round_:  # the first round warms caches and is not counted
                seconds = time.perf_counter() - started
                rates[way].append(done.get(way, len(files)) / seconds)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    click.echo(
        json.dumps(
            {
                "files": len(files),
                "rounds": rounds,
                "threads": threads,
                "precision": precision,
                "crops_per_s": {way: round(rate, 1) for way, rate in medians.items()},
                "ratio_to_torch_batch_32": round(
                    medians["heme_edge"] / medians["torch_batch_32"], 2
                ),
                "ratio_to_one_at_a_time": round(
                    medians["heme_edge"] / medians["torch_one_at_a_time"], 2
                ),
                "machine": platform.processor() or platform.machine(),
            }
        )
    )


def _runtime(crops: Path, precision: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        run(Request((crops,), Path(out), True, CROP_UM_PER_PX, None, precision), lambda _: None)


def _torch_network(threads: int) -> Any:
    """The default bundle's network in eager torch; its speed does not depend on its weights."""
    import torch

    from heme_train.models import create_network, preprocessing

    torch.set_num_threads(threads)
    bundle = load_bundle()
    recipe = bundle.info.provenance["recipe"]
    network = create_network(recipe["network"], len(bundle.codes), "none").eval()
    half = (0.5, 0.5, 0.5)
    return torch.nn.Sequential(preprocessing(half, half, recipe["standardise"]), network)


def _torch(network: Any, files: list[Path], batch: int) -> None:
    import torch

    with torch.inference_mode():
        for images in _batches(files, batch):
            torch.softmax(network(torch.from_numpy(images)), 1).numpy()


def _batches(files: list[Path], batch: int) -> Iterator[Image]:
    for at in range(0, len(files), batch):
        yield np.stack([_crop(path) for path in files[at : at + batch]])


def _crop(path: Path) -> Image:
    image = read_photo(path)
    return image if image.shape == (96, 96, 3) else centre_crop(image, CROP_UM_PER_PX)


if __name__ == "__main__":
    main()
