"""What INT8 is made from: how far each activation of a network goes on real crops, and shifts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration.int8 import QUANTISED_OPERATORS, prepare
from heme_calibration.shifts import ShiftMeter, Shifts
from heme_edge.bundle import sha256_of
from heme_edge.crops import Image
from heme_edge.errors import HemeError

METHODS = ("Percentile", "MinMax", "Entropy")
"""ONNX Runtime's; Entropy after S. Migacz, *8-bit inference with TensorRT*, 2017."""
PERCENTILE = 99.99
BINS = 2048
"""Of each tensor's histogram. ``quantize_static`` gives Entropy as many as it has levels (128),
with which it cannot cut anything and is MinMax by another name."""
FEWEST_CROPS = 16
BATCH = 32

Bounds = dict[str, tuple[float, float]]
"""Lowest and highest value by name of a tensor."""


@dataclass(frozen=True)
class Ranges:
    """The ranges of one fp32 file.

    Attributes:
        model_sha256: of that file.
        crops: how many crops measured them.
        crops_sha256: of their pixels, in order.
        bounds: by method.
        shifts: of each layer's channels by the rounding of its weights.
    """

    model_sha256: str
    crops: int
    crops_sha256: str
    bounds: dict[str, Bounds]
    shifts: Shifts


def measure_ranges(
    fp32: Path, crops: Iterable[Image], methods: tuple[str, ...] = METHODS, batch: int = BATCH
) -> Ranges:
    """Runs the crops through the network, one batch in memory at a time.

    Args:
        fp32: ONNX file with one input, ``crops`` or the detector's ``field``.
        crops: uint8 ``[96, 96, 3]``, of training groups, classes drawn equally; or fields.
        batch: how many go through at once.
        methods: of ``METHODS``. Entropy takes about half a second for each tensor.

    Raises:
        HemeError: fewer than 16 crops.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    count, digest = 0, hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        prepared = Path(folder) / "prepared.onnx"
        prepare(fp32, prepared)
        calibrator = create_calibrator(
            prepared,
            list(QUANTISED_OPERATORS),
            augmented_model_path=f"{folder}/augmented.onnx",
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"symmetric": False, "num_bins": BINS, "percentile": PERCENTILE},
        )
        model = onnx.load(prepared)
        meter = ShiftMeter(model)
        for given in _batches(crops, batch):
            meter.add(given)
            count += len(given)
            digest.update(given.tobytes())
            calibrator.collect_data(_Reader({model.graph.input[0].name: given}))
        if count < FEWEST_CROPS:
            raise HemeError(
                f"INT8 calibration needs at least {FEWEST_CROPS} crops, not {count}.",
                "A few hundred, of every class",
            )
        bounds = {method: _bounds(calibrator.collector, method) for method in methods}
    return Ranges(sha256_of(fp32), count, digest.hexdigest(), bounds, meter.means())


def _batches(crops: Iterable[Image], size: int) -> Iterator[Image]:
    held: list[Image] = []
    for crop in crops:
        held.append(crop)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


class _Reader:
    """Hands the calibrator one batch. It keeps every answer until its reader ends."""

    def __init__(self, batch: dict[str, Image]) -> None:
        self._left = [batch]

    def get_next(self) -> dict[str, Image] | None:
        return self._left.pop() if self._left else None


def _bounds(collector: Any, method: str) -> Bounds:
    """From the histograms ``(counts, edges, lowest, highest, largest magnitude)``."""
    if method == "MinMax":
        found = {name: held[2:4] for name, held in collector.histogram_dict.items()}
    elif method == "Percentile":
        found = collector.compute_percentile()
    else:
        found = collector.compute_entropy()
    return {name: (float(low), float(high)) for name, (low, high, *_) in found.items()}


def save_ranges(ranges: Ranges, path: Path) -> None:
    """Writes ranges as JSON; ``heme-export bundle --ranges`` takes them."""
    path.write_text(json.dumps(asdict(ranges)) + "\n", encoding="utf-8")


def load_ranges(path: Path, fp32: Path) -> Ranges:
    """Reads ranges for a file.

    Raises:
        HemeError: they cannot be read, or are of another network.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ranges = Ranges(
            str(content["model_sha256"]),
            int(content["crops"]),
            str(content["crops_sha256"]),
            {
                method: {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
                for method, bounds in content["bounds"].items()
            },
            {layer: [float(v) for v in shift] for layer, shift in content["shifts"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HemeError(
            f"'{path}' holds no INT8 ranges ({error}).", "heme-calibrate int8"
        ) from error
    if ranges.model_sha256 != sha256_of(fp32):
        raise HemeError(f"The ranges '{path}' are of another network.", "heme-calibrate int8")
    return ranges
