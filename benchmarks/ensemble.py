"""A five-member ResNeXt-50 as one graph: is it the five networks' mean, and how fast is it?

    python benchmarks/ensemble.py [--run runs/deepheme] [--rounds 5]

Without ``--run`` the weights are random, with batch-norm statistics of the simulated crops they are
shown; speed does not depend on them. Torch eager in both memory layouts, ONNX Runtime fp32 and
OpenVINO INT8 take turns at a batch of 32 in one process. Prints one JSON object.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from heme_calibration.int8 import load_prepared, quantise
from heme_calibration.ranges import measure_ranges
from heme_edge.backends.base import Backend
from heme_edge.backends.onnxruntime_cpu import OnnxRuntimeBackend
from heme_edge.backends.openvino_cpu import OpenVinoBackend
from heme_edge.bundle import Bundle, BundleClass, BundleInfo, ModelFile
from heme_edge.cells import DEEPHEME_CODES
from heme_edge.crops import Image
from heme_edge.machine import processor_name, usable_processors, versions
from heme_export.graph import OPSET, export_onnx
from heme_export.reference import simulated_crops
from heme_train.models import create_network, input_statistics, preprocessing
from heme_train.runs import Run, load_run

NETWORK, BATCH = "resnext50_32x4d", 32
LAYOUTS = {"torch": False, "torch_channels_last": True}


@click.command()
@click.option("--run", "path", type=click.Path(exists=True, path_type=Path),
              help="A trained ensemble [default: random weights].")  # fmt: skip
@click.option("--members", type=click.IntRange(1), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=usable_processors(), show_default=True)
def main(path: Path | None, members: int, rounds: int, threads: int) -> None:
    """Compare the fused graph with its torch networks, in answers and in crops/s."""
    import torch

    torch.set_num_threads(threads)
    crops = _crops()
    run = load_run(path) if path else random_run(members, crops)
    temperature = float(run.logits(list(crops)).std()) / 2
    with tempfile.TemporaryDirectory() as folder:
        bundle = _bundle(run, temperature, crops, Path(folder))
        fp32 = OnnxRuntimeBackend(bundle, "fp32", threads)
        int8 = OpenVinoBackend(bundle, "int8", threads)
        answers = _answers(run, temperature, fp32, int8, crops)
        rates = _rates(run, temperature, {"onnxruntime_fp32": fp32, "openvino_int8": int8}, rounds)
        fp32.close()
        int8.close()
    about = {
        "network": run.content["recipe"]["network"],
        "members": len(run.networks),
        "classes": len(run.codes),
        "weights": f"trained: {path}" if path else "random",
        "batch": BATCH,
        "rounds": rounds,
        "threads": threads,
        "processor": processor_name(),
        "versions": versions(("torch", "onnxruntime", "openvino")),
    }
    click.echo(json.dumps(about | answers | _ratios(rates), indent=1))


def random_run(members: int, crops: Image) -> Run:
    """Networks of different seeds whose batch norms know the crops, so that answers differ."""
    import torch

    prepare = preprocessing(*input_statistics(NETWORK, "none"), False)
    networks = []
    for seed in range(members):
        torch.manual_seed(seed)
        network = create_network(NETWORK, len(DEEPHEME_CODES), "none")
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # the statistics of the last crops shown
        with torch.inference_mode():
            network.train()(prepare(torch.from_numpy(crops)))
        networks.append(network.eval())
    names = tuple(f"seed{i}" for i in range(members))
    content = {"recipe": {"network": NETWORK}}
    return Run(DEEPHEME_CODES, tuple(networks), names, names, prepare, "softmax", content)


def _crops() -> Image:
    """64 crops: those that are drawn, and then their mirror images."""
    drawn = simulated_crops(0, 2 * BATCH)
    return np.concatenate([drawn, drawn[:, :, ::-1]])[: 2 * BATCH]


def _bundle(run: Run, temperature: float, crops: Image, folder: Path) -> Bundle:
    export_onnx(run, temperature, folder / "fp32.onnx")
    _quantise(folder, crops)
    models = (
        ModelFile("fp32.onnx", "fp32", "float", OPSET, 1e-3),
        ModelFile("int8.onnx", "int8", "u8-asymmetric", OPSET, 1.0),
    )
    classes = tuple(BundleClass(code, code) for code in run.codes)
    info = BundleInfo("ensemble", classes, models, run.head, temperature, 0.0)
    return Bundle(folder, info, "")


def _quantise(folder: Path, crops: Image) -> None:
    ranges = measure_ranges(folder / "fp32.onnx", crops, ("Percentile",))
    prepared = load_prepared(folder / "fp32.onnx")
    quantise(prepared, folder / "int8.onnx", ranges.bounds["Percentile"], "u8-asymmetric")


def _answers(
    run: Run, temperature: float, fp32: Backend, int8: Backend, crops: Image
) -> dict[str, Any]:
    """Differences of probabilities: fused from torch, and INT8 from fp32."""
    expected = _mean(run.logits(list(crops)), temperature)
    fused, quantised = fp32.infer(crops)[0], int8.infer(crops)[0]
    return {
        "fused_max_difference": float(np.abs(fused - expected).max()),
        "int8_mean_difference": float(np.abs(quantised - fused).mean()),
        "int8_label_agreement": float((quantised.argmax(1) == fused.argmax(1)).mean()),
        "largest_probability_median": float(np.median(fused.max(1))),
        "labels_named": len(set(fused.argmax(1).tolist())),
    }


def _mean(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Mean over members of the tempered softmax of ``[M, N, C]`` logits, in float64."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=2, keepdims=True))
    return np.asarray((powers / powers.sum(axis=2, keepdims=True)).mean(axis=0))


def _rates(
    run: Run, temperature: float, backends: dict[str, Backend], rounds: int
) -> dict[str, list[float]]:
    """Crops/s of each way in each round; a first round warms caches and is not counted."""
    crops = _crops()[:BATCH]
    ways: dict[str, Callable[[], object]] = {
        name: _torch_way(run, temperature, crops, channels_last)
        for name, channels_last in LAYOUTS.items()
    }
    ways |= {name: _backend_way(backend, crops) for name, backend in backends.items()}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(rounds + 1):
        for way, work in ways.items():
            started = time.perf_counter()
            work()
            if round_:
                rates[way].append(len(crops) / (time.perf_counter() - started))
    return rates


def _torch_way(
    run: Run, temperature: float, crops: Image, channels_last: bool
) -> Callable[[], object]:
    """The five networks one after the other in eager torch, weights already in that layout."""
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    networks = [copy.deepcopy(n).to(memory_format=layout) for n in run.networks]  # type: ignore[call-overload]  # torch's overloads lack it

    def work() -> object:
        with torch.inference_mode():
            pixels = run.prepare(torch.from_numpy(crops)).contiguous(memory_format=layout)
            parts = [torch.softmax(network(pixels) / temperature, 1) for network in networks]
            return torch.stack(parts).mean(0).numpy()

    return work


def _backend_way(backend: Backend, crops: Image) -> Callable[[], object]:
    return lambda: backend.infer(crops)


def _ratios(rates: dict[str, list[float]]) -> dict[str, Any]:
    medians = {way: statistics.median(values) for way, values in rates.items()}
    return {
        "crops_per_s": {way: round(rate, 1) for way, rate in medians.items()},
        "ratio_to": {
            base: {
                way: round(medians[way] / medians[base], 2) for way in medians if way not in LAYOUTS
            }
            for base in LAYOUTS
        },
    }


if __name__ == "__main__":
    main()
