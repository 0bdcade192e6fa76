"""INT8 files from an fp32 file and activation ranges."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration.rounding import hold

QUANTISED_OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool")
"""The head (Softmax, Log, Mul, ReduceSum) stays in floating point in every precision."""
WEIGHTED_OPERATORS = ("Conv", "Gemm", "MatMul")


def prepare(fp32: Path, prepared: Path) -> None:
    """Writes the file that is quantised: constants folded, shapes inferred, names kept."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)


def load_prepared(fp32: Path) -> Any:
    """``prepare`` as an ``onnx.ModelProto``."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        prepare(fp32, Path(folder) / "prepared.onnx")
        return onnx.load(Path(folder) / "prepared.onnx")


def depths(model: Any) -> dict[str, int]:
    """The nodes between first and last layer of each member, by name.

    Returns:
        for each how many layers lie on the longest way to it, itself counted. Preprocessing and
        head, which no layer comes before or after, are not in it.
    """
    nodes = list(model.graph.node)
    depth: dict[str, int] = {}
    for node in nodes:
        here = max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, here + (node.op_type in WEIGHTED_OPERATORS)))
    needed: set[str] = set()
    inside = {}
    for node in reversed(nodes):
        if node.op_type in WEIGHTED_OPERATORS or needed & set(node.output):
            needed.update(node.input)
            inside[node.name] = depth[node.output[0]]
    return {n.name: inside[n.name] for n in nodes if inside.get(n.name)}


def quantise(
    model: Any,
    int8: Path,
    bounds: Mapping[str, tuple[float, float]],
    scheme: str,
    float_nodes: Collection[str] = (),
    given_bytes: Collection[str] = (),
) -> None:
    """Writes an INT8 file: s8 weights per channel, Q/DQ where something enters a layer.

    Args:
        model: of ``load_prepared``; for ``s8-symmetric-fp16`` its half-precision form. It is
            changed.
        int8: where to write.
        bounds: range of each activation.
        scheme: ``u8-asymmetric`` for CPUs; ``s8-symmetric`` for TensorRT, which wants signed
            symmetric activations and no quantised bias; ``s8-symmetric-fp16`` for TensorRT 10
            and later, where what is not quantised is half precision.
        float_nodes: names of nodes that are not quantised, besides preprocessing and head.
        given_bytes: names of those of them whose input is in eight bits all the same, so that the
            layer before, whose output it is, runs in eight bits: kernels write what they read.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    inside = depths(model).keys() - set(float_nodes)
    outside = {n.name for n in model.graph.node} - inside
    unsigned = scheme == "u8-asymmetric"
    number = np.float16 if scheme == "s8-symmetric-fp16" else np.float32
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (number(low), number(high)) for name, (low, high) in bounds.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(outside),
        op_types_to_quantize=list(QUANTISED_OPERATORS),
        extra_options={
            "TensorQuantOverrides": hold(model, outside),
            "ActivationSymmetric": not unsigned,
            "QuantizeBias": unsigned,
            # Eight bits are for what enters a layer. What leaves a convolution is clipped first
            # (ReLU6): put into eight bits before that, most of them go to values the clip takes
            # away.
            "OpTypesToExcludeOutputQuantization": list(QUANTISED_OPERATORS),
        },
    )
    for node in model.graph.node:
        if node.name in given_bytes:
            quantiser.quantize_activation_tensor(node.input[0])
    quantiser.quantize_model()
    _pool_bytes(quantiser.model.graph())
    quantiser.model.save_model_to_file(str(int8))


def _pool_bytes(graph: Any) -> None:
    """Max-pooling of what is in eight bits already, where it enters a layer right after.

    The largest of some values is the same one before and after rounding, to the bit.
    """
    from onnx import helper

    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        takers = [node for node in graph.node if pool.output[0] in node.input]
        if {node.op_type for node in takers} != {"QuantizeLinear"}:
            continue
        given, steps = pool.input[0], takers[0].input[1:]
        place = list(graph.node).index(pool)
        for operator in ("QuantizeLinear", "DequantizeLinear"):
            name = f"{pool.name}_{operator}"
            graph.node.insert(place, helper.make_node(operator, [given, *steps], [name], name))
            given, place = name, place + 1
        pool.input[0] = given
