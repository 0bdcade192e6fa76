"""INT8: activation ranges measured on training crops, and the u8 file made from them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import HemeError

QUANTISED_OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool")
"""The head (Softmax, Log, Mul, ReduceSum) stays in floating point in every precision."""


@dataclass(frozen=True)
class Ranges:
    """What calibration used, for ``bundle.json``.

    Attributes:
        method: how the ranges were taken.
        crops: how many crops measured them.
        digest: SHA-256 of those crops.
        float_layers: first convolutions that stay in floating point.
    """

    method: str
    crops: int
    digest: str
    float_layers: int


class _Reader:
    """Feeds crops to ONNX Runtime's calibrator in batches of one size, which it asks for.

    The last batch is filled up with the first crops.
    """

    def __init__(self, crops: Sequence[Image], batch: int = 32) -> None:
        batch = min(batch, len(crops))
        self._batches: Iterator[Image] = iter(
            np.stack([crops[i % len(crops)] for i in range(at, at + batch)])
            for at in range(0, len(crops), batch)
        )

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"crops": batch}


def quantise_u8(
    fp32: Path,
    int8: Path,
    crops: Sequence[Image],
    float_layers: int = 0,
    method: str = "Percentile",
) -> Ranges:
    """Writes the INT8 file for CPUs: u8 asymmetric activations, s8 weights per channel.

    Args:
        fp32: ONNX file with the input ``crops``.
        int8: where to write.
        crops: uint8 ``[96, 96, 3]`` crops of training groups, classes drawn equally.
        float_layers: so many first convolutions stay in floating point. The first ones see few
            channels of very different range, and are the first to lose by eight bits.
        method: ``MinMax``, ``Percentile`` or ``Entropy`` of ONNX Runtime.

    Raises:
        HemeError: fewer than 16 crops.
    """
    if len(crops) < 16:
        raise HemeError(f"INT8 calibration needs at least 16 crops, not {len(crops)}.")
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        q.quantize_static(
            str(prepared),
            str(int8),
            _Reader(crops),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_OPERATORS),
            nodes_to_exclude=_floating_point_nodes(prepared, float_layers),
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=getattr(q.CalibrationMethod, method),
            extra_options={
                # Eight bits are for what enters a layer. What leaves a convolution is clipped
                # first (ReLU6): put into eight bits before that, most of them go to values the
                # clip takes away.
                "OpTypesToExcludeOutputQuantization": list(QUANTISED_OPERATORS),
                **({"CalibPercentile": 99.99} if method == "Percentile" else {}),
            },
        )
    digest = hashlib.sha256(b"".join(c.tobytes() for c in crops)).hexdigest()
    return Ranges(method, len(crops), digest, float_layers)


def _floating_point_nodes(model: Path, layers: int) -> list[str]:
    """Everything before convolution number ``layers``, and the head after the last product."""
    import onnx

    nodes = list(onnx.load(model).graph.node)
    weighted = [i for i, n in enumerate(nodes) if n.op_type in ("Conv", "Gemm", "MatMul")]
    first, last = weighted[layers], weighted[-1]
    return [n.name for i, n in enumerate(nodes) if i < first or i > last]
