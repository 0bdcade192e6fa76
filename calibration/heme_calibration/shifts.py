"""By how much rounding its weights shifts each channel of a layer, on average over real crops.

Such a shift is the same for every cell and adds up from layer to layer; taken off the bias it
costs nothing (M. Nagel et al., *Data-free quantization through weight equalization and bias
correction*, 2019, here measured on crops).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from heme_calibration.rounding import rounded
from heme_edge.crops import Image

Shifts = dict[str, list[float]]
"""By name of a convolution: mean of what its channels come out too high by."""


class ShiftMeter:
    """Runs every convolution beside itself with rounded weights.

    Args:
        model: ``onnx.ModelProto`` of ``int8.load_prepared``.
    """

    def __init__(self, model: Any) -> None:
        import onnxruntime as ort

        self._layers = _with_bias(model)
        self._input = model.graph.input[0].name
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session: Any = ort.InferenceSession(
            _doubled(model, self._layers).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._sums = [0.0] * len(self._layers)
        self._count = 0

    def add(self, crops: Image) -> None:
        """Takes in a batch, uint8 ``[N, H, W, 3]``."""
        outputs = [f"shift{i}" for i in range(len(self._layers))]
        found = self._session.run(outputs, {self._input: crops}) if outputs else []
        self._sums = [s + f.sum((0, 2, 3)) for s, f in zip(self._sums, found, strict=True)]
        self._count += len(crops)

    def means(self) -> Shifts:
        """Of all crops so far."""
        names = [node.name for node in self._layers]
        return {
            name: (np.asarray(total) / self._count).astype(np.float32).tolist()
            for name, total in zip(names, self._sums, strict=True)
        }


def _with_bias(model: Any) -> list[Any]:
    constants = {t.name for t in model.graph.initializer}
    return [
        n
        for n in model.graph.node
        if n.op_type == "Conv" and len(n.input) == 3 and {*n.input[1:]} <= constants
    ]


def _doubled(model: Any, layers: Sequence[Any]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    model = copy.deepcopy(model)
    constants = {t.name: t for t in model.graph.initializer}
    for i, node in enumerate(layers):
        weights, _ = rounded(numpy_helper.to_array(constants[node.input[1]]))
        model.graph.initializer.append(numpy_helper.from_array(weights, f"rounded{i}"))
        twin = helper.make_node("Conv", [node.input[0], f"rounded{i}", node.input[2]], [f"twin{i}"])
        twin.attribute.extend(node.attribute)
        gap = helper.make_node("Sub", [f"twin{i}", node.output[0]], [f"gap{i}"])
        mean = helper.make_node("GlobalAveragePool", [f"gap{i}"], [f"shift{i}"])
        model.graph.node.extend([twin, gap, mean])
        model.graph.output.append(
            helper.make_tensor_value_info(f"shift{i}", TensorProto.FLOAT, None)
        )
    return model


def take_off(
    model: Any, shifts: Mapping[str, Sequence[float]], float_nodes: Collection[str]
) -> Any:
    """A copy of the model with the shifts taken off the biases of the layers to be quantised."""
    from onnx import numpy_helper

    model = copy.deepcopy(model)
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.name in shifts and node.name not in float_nodes:
            bias = numpy_helper.to_array(constants[node.input[2]])
            moved = (bias - np.asarray(shifts[node.name])).astype(np.float32)
            node.input[2] = f"{node.name}/bias"
            model.graph.initializer.append(numpy_helper.from_array(moved, node.input[2]))
    return model
