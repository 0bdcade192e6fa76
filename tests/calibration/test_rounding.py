"""Weights in eight bits whose sums of products no processor cuts off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from heme_calibration.rounding import hold, outputs_axis, rounded
from heme_edge.bundle import load_bundle
from heme_edge.detect.learned import spec_of

BUNDLE = load_bundle()
INT8 = [
    *(BUNDLE.path / m.file for m in BUNDLE.info.models if m.precision == "int8"),
    BUNDLE.path / spec_of(BUNDLE).files["int8"],
]


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def whole(values: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / steps.reshape(-1, *[1] * (values.ndim - 1))


@pytest.mark.parametrize("shape", [(16, 64, 1, 1), (32, 32, 3, 3), (13, 1280)])
def test_neighbours_fit_into_16_bits_and_little_is_lost(shape: tuple[int, ...]) -> None:
    given = weights(*shape)
    values, steps = rounded(given)
    units = whole(values, steps)
    assert units == pytest.approx(np.round(units), abs=1e-3)
    assert np.abs(units).max() <= 127.001
    assert np.abs(units[:, 0::2] + units[:, 1::2]).max() <= 128.001

    def error(bits_128: float) -> float:
        step = np.abs(given.reshape(shape[0], -1)).max(1).reshape(-1, *[1] * (len(shape) - 1))
        step = step / bits_128
        return float(np.square(np.round(given / step) * step - given).mean() ** 0.5)

    lost = float(np.square(values - given).mean() ** 0.5)
    assert lost < 1.4 * error(127)
    assert lost < 0.7 * error(63)


def test_of_an_odd_number_of_inputs_any_two_are_neighbours() -> None:
    values, steps = rounded(weights(8, 3, 3, 3))
    assert np.abs(whole(values, steps)).max() <= 64.001


def test_a_depthwise_layer_keeps_all_eight_bits() -> None:
    values, steps = rounded(weights(8, 1, 3, 3))
    assert np.abs(whole(values, steps)).reshape(8, -1).max(1) == pytest.approx(127, abs=1e-3)


def test_a_channel_of_zeros_stays_one() -> None:
    given = weights(4, 8, 1, 1)
    given[2] = 0
    values, steps = rounded(given)
    assert not values[2].any()
    assert (steps > 0).all()


def test_what_stays_in_floating_point_is_not_rounded() -> None:
    constants = [numpy_helper.from_array(weights(4, 4), name) for name in "abc"]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["y"], "first"),
        helper.make_node("Gemm", ["y", "b"], ["z"], "second", transB=1),
        helper.make_node("Gemm", ["z", "c"], ["out"], "third"),
    ]
    graph = helper.make_graph(nodes, "g", [], [], constants)
    model = helper.make_model(graph)
    before = {t.name: numpy_helper.to_array(t).copy() for t in constants}
    steps = hold(model, {"second"})
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert [outputs_axis(node) for node in nodes] == [1, 0, 1]
    assert {name: table[0]["axis"] for name, table in steps.items()} == {"a": 1, "c": 1}
    assert (after["b"] == before["b"]).all()
    assert (after["a"] != before["a"]).any()


@pytest.mark.parametrize("file", INT8, ids=lambda path: path.name)
def test_the_weights_of_the_default_bundle_are_held(file: Path) -> None:
    model = onnx.load(file)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    came_from = {name: node for node in model.graph.node for name in node.output}
    layers = 0
    for node in model.graph.node:
        source = came_from.get(node.input[1]) if outputs_axis(node) is not None else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        held = constants[source.input[0]].astype(int)
        held = np.moveaxis(held, outputs_axis(node) or 0, 0)
        layers += 1
        if held.shape[1] > 1:
            assert np.abs(held[:, 0::2] + held[:, 1::2]).max() <= 128
    assert layers > 10


@pytest.mark.parametrize("file", [INT8[0], INT8[-1]], ids=lambda path: path.name)
def test_fast_and_exact_kernels_say_the_same(file: Path) -> None:
    """ONNX Runtime's exact ones, for CPUs without VNNI, were 0.4 times as fast as the others."""
    rng = np.random.default_rng(0)
    crops = BUNDLE.reference()[0] if file == INT8[0] else rng.integers(0, 256, (1, 96, 96, 3))
    said = []
    for exact in ("0", "1"):
        options = ort.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", exact)
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        said.append(session.run(None, {name: crops.astype(np.uint8)})[0])
    assert np.abs(said[0] - said[1]).max() < 1e-5
