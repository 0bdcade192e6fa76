"""Weights in eight bits that every processor multiplies exactly.

x86 processors without VNNI multiply unsigned with signed bytes in pairs (``vpmaddubsw``) and keep
the sum of two products in 16 bits: 255 * (127 + 127) does not fit, and what does not fit is cut
off. The usual way round it, weights of seven bits, doubles what rounding loses. Here only what
matters is held: two neighbouring weights of one sign add up to 128 at most. That costs a fifth to a
third.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

LARGEST, LARGEST_PAIR = 127.0, 128.0
WIDER = np.arange(1.0, 2.01, 0.05)
"""Steps that are tried for each channel, of the finest that holds its largest weight."""


def rounded(weights: Weights, least_step: float = 0.0) -> tuple[Weights, Weights]:
    """Weights as eight symmetric bits per output channel hold them.

    Of each channel the step is chosen whose squared error is least. Neighbours are input channels
    0 and 1, 2 and 3, and so on; where their number is odd, neighbours could be any two weights, so
    each is 64 steps at most. Of a depthwise layer, whose products are summed in 32 bits, nothing is
    held.

    Args:
        weights: ``[O, I, ...]``, of a convolution, or of a matrix with its outputs first.
        least_step: no step is finer.

    Returns:
        the rounded weights, of the same shape; the steps, ``[O]``.
    """
    outputs, inputs = weights.shape[:2]
    flat = weights.reshape(outputs, inputs, -1)
    largest = np.abs(flat).max((1, 2), initial=0.0)
    finest = np.where(largest > 0, np.maximum(largest / LARGEST, least_step), 1.0)
    best, step = np.zeros_like(flat), np.ones(outputs, np.float32)
    least = np.full(outputs, np.inf)
    for wider in WIDER if inputs > 1 else WIDER[:1]:
        steps = (finest * wider).astype(np.float32)
        tried = _whole(flat / steps[:, None, None]) * steps[:, None, None]
        error = np.square(tried - flat).sum((1, 2), dtype=np.float64)
        better = error < least
        best[better], step[better], least[better] = tried[better], steps[better], error[better]
    return best.reshape(weights.shape), step


def _whole(steps: Weights) -> Weights:
    """The nearest whole numbers ``[O, I, K]`` that are held."""
    inputs = steps.shape[1]
    if inputs == 1:
        return np.round(steps)
    if inputs % 2:
        return np.clip(np.round(steps), -LARGEST_PAIR / 2, LARGEST_PAIR / 2)
    pairs = steps.reshape(len(steps), inputs // 2, 2, -1)
    total = pairs.sum(2, keepdims=True)
    over = np.sign(total) * np.maximum(np.abs(total) - LARGEST_PAIR, 0)
    wanted = pairs - over / 2
    whole = np.clip(np.round(wanted), -LARGEST, LARGEST)
    total = whole.sum(2, keepdims=True)
    sign = np.sign(total) * (np.abs(total) > LARGEST_PAIR)  # both were rounded up: one is not
    up = (whole - wanted) * sign
    first = up[:, :, :1] >= up[:, :, 1:]
    whole -= np.concatenate([sign * first, sign * ~first], 2)
    return np.asarray(whole.reshape(steps.shape), np.float32)


def hold(model: Any, float_nodes: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Rounds the weights of a model's layers, in place.

    Args:
        model: ``onnx.ModelProto``.
        float_nodes: names of nodes that are left as they are.

    Returns:
        the steps, by name of the weights, as ONNX Runtime's ``TensorQuantOverrides``.
    """
    from onnx import numpy_helper

    constants = {t.name: t for t in model.graph.initializer}
    steps: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        axis = outputs_axis(node)
        if axis is None or node.name in float_nodes or node.input[1] not in constants:
            continue
        tensor = constants[node.input[1]]
        weights = numpy_helper.to_array(tensor)
        least = float(np.finfo(weights.dtype).tiny)  # a smaller one would be zero in half precision
        values, step = rounded(np.moveaxis(weights.astype(np.float32), axis, 0), least)
        held = np.moveaxis(values, 0, axis).astype(weights.dtype)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(held), tensor.name))
        zero = np.array(0, np.int8)
        table: list[dict[str, Any]] = [
            {"scale": np.array(one, weights.dtype), "zero_point": zero} for one in step
        ]
        steps[tensor.name] = [{"axis": axis} | table[0], *table[1:]]
    return steps


def outputs_axis(node: Any) -> int | None:
    """The axis of a layer's weights that its outputs lie along; None: it is no such layer."""
    if node.op_type == "Gemm":
        return int(not any(a.name == "transB" and a.i for a in node.attribute))
    return {"Conv": 0, "MatMul": 1}.get(node.op_type)
