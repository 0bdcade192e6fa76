"""How fast ``heme-edge classify --crops`` is beside the same network in eager torch.

Four ways over the same files with the same decoder and threads, in turn, in one process: the
runtime from file to CSV; torch eager at batch 32 in its own memory layout (NCHW); the same in
channels-last, which is faster on CPUs; and the published way, one image at a time. Prints one
JSON line with median crops/s of each and the ratios of the medians.
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
    some = files[: max(1, len(files) // 4)]
    network = _torch_network(threads)
    ways: dict[str, Callable[[], None]] = {
        "heme_edge": lambda: _runtime(crops, precision),
        "torch_batch_32": lambda: _torch(network, files, BATCH),
        "torch_batch_32_channels_last": lambda: _torch(network, files, BATCH, True),
        "torch_one_at_a_time": lambda: _torch(network, some, 1),
    }
    done = {"torch_one_at_a_time": len(some)}
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
                "ratio": {
                    way: round(medians["heme_edge"] / rate, 2) for way, rate in medians.items()
                },
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


def _torch(network: Any, files: list[Path], batch: int, channels_last: bool = False) -> None:
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    with torch.inference_mode():
        for images in _batches(files, batch):
            pixels = network[0](torch.from_numpy(images)).contiguous(memory_format=layout)
            torch.softmax(network[1](pixels), 1).numpy()


def _batches(files: list[Path], batch: int) -> Iterator[Image]:
    for at in range(0, len(files), batch):
        yield np.stack([_crop(path) for path in files[at : at + batch]])


def _crop(path: Path) -> Image:
    image = read_photo(path)
    return image if image.shape == (96, 96, 3) else centre_crop(image, CROP_UM_PER_PX)


if __name__ == "__main__":
    main()
