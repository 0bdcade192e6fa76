"""FP16 by casts: layers in half precision, the first, the last and what is no layer in single."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from heme_calibration.int8 import depths

HALF, SINGLE = "_fp16", "_fp32"
"""Ends of the names of what was cast."""
LIMITS = (float(np.finfo(np.float16).min), float(np.finfo(np.float16).max))


def to_half(model: Any, float_layers: int = 0) -> Any:
    """A model whose layers compute in half precision, but for the first ones and the last.

    The first layers see the largest numbers, and what they lose all others multiply. After them
    there is one cast; layers left out here and there would need two each.

    ``onnxconverter_common.float16`` with a list of nodes to leave gives an invalid graph where a
    constant is shared between both kinds, as exporters share them.

    Args:
        model: ``onnx.ModelProto`` of ``heme_calibration.int8.load_prepared``. It stays as it is.
        float_layers: so many layers of each member, and what lies between them, stay in single
            precision. The classifier always does.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    nodes = list(_cast(graph, half_nodes(model, float_layers)))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    constants = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return onnx.shape_inference.infer_shapes(model)


def half_nodes(model: Any, float_layers: int) -> set[str]:
    """Names of the nodes that ``to_half`` puts into half precision."""
    inside = depths(model)
    last = max(inside.values())
    return {name for name, depth in inside.items() if float_layers < depth < last}


def _cast(graph: Any, half: set[str]) -> Iterator[Any]:
    """The nodes in order, each after the casts it needs."""
    from onnx import TensorProto

    floats = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    constants = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    is_half = {out: n.name in half for n in graph.node for out in n.output if out in floats}
    there: set[str] = set()
    for node in graph.node:
        wants = node.name in half
        suffix = HALF if wants else SINGLE
        for place, name in enumerate(node.input):
            if name in constants:
                if not wants:
                    continue
            elif is_half.get(name, wants) == wants:
                continue
            if name + suffix not in there:
                there.add(name + suffix)
                if name in constants:
                    graph.initializer.append(_rounded(constants[name], name + suffix))
                else:
                    yield _cast_node(name, suffix, wants)
            node.input[place] = name + suffix
        yield node


def _rounded(constant: Any, name: str) -> Any:
    """The constant in half precision; what lies beyond it, such as an open clip, at its end."""
    from onnx import numpy_helper

    values = np.clip(numpy_helper.to_array(constant), *LIMITS)
    return numpy_helper.from_array(values.astype(np.float16), name)


def _cast_node(name: str, suffix: str, to_half: bool) -> Any:
    from onnx import TensorProto, helper

    to = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
    return helper.make_node("Cast", [name], [name + suffix], name=name + suffix, to=to)
