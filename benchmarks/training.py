"""The training loop against a bare PyTorch loop with the same network and augmentation.

    python benchmarks/training.py [--draws 1280] [--rounds 3]

Both show the same draws to the same network with the same optimiser, in turn; printed are the
medians of their crops/s, the ratio, and the peak memory of this process and its workers.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from heme_edge.cli_support import data_option
from heme_train.data import CropSet, open_crops
from heme_train.draws import Draws, Lesson, batches, measure_looks
from heme_train.fit import Progress, fit
from heme_train.models import create_network, input_statistics, preprocessing
from heme_train.recipe import Recipe
from heme_train.recipe_files import load_recipe


def bare(crops: CropSet, recipe: Recipe) -> float:
    """Seconds of one epoch of the plainest loop that learns the same."""
    import torch

    training = crops.select([f"fold{i}" for i in range(5)])
    codes = sorted({c.code for c in training})
    lesson = Lesson(crops, training, codes, sorted({c.source for c in training}))
    draws = Draws(lesson, recipe, 0, measure_looks(crops, training, 0))
    network = create_network(recipe.network, len(codes), recipe.weights)
    network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # torch's overloads lack it
    prepare = preprocessing(*input_statistics(recipe.network, recipe.weights), recipe.standardise)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate)
    started = time.perf_counter()
    for batch in batches(draws, recipe):
        pixels = prepare(torch.from_numpy(batch.images))
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.targets))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimiser.step()
    return time.perf_counter() - started


def ours(crops: CropSet, recipe: Recipe) -> float:
    """Seconds of one epoch of ``fit``, its checkpoint included."""
    seen: list[Progress] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(crops, Path(folder) / "run", recipe, report=seen.append)
    return seen[0].seconds


@click.command()
@data_option
@click.option("--draws", type=click.IntRange(64), default=1280, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(data: Path, draws: int, rounds: int) -> None:
    """Print the throughput of both loops, their ratio, and the peak memory."""
    crops = open_crops(data)
    recipe = replace(
        load_recipe("edge"), draws=draws, epochs=1, small_epochs=0, mix_styles=0.0, teacher=""
    )
    speeds: dict[str, list[float]] = {"bare": [], "heme-train": []}
    for _ in range(rounds):
        speeds["bare"].append(draws / bare(crops, recipe))
        speeds["heme-train"].append(draws / ours(crops, recipe))
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    peak = sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    result = {
        "crops_per_s": {name: round(value, 1) for name, value in middle.items()},
        "ratio": round(middle["heme-train"] / middle["bare"], 3),
        "peak_gib_process_and_largest_worker": round(peak / 2**20, 2),
    }
    click.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
