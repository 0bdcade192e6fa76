"""ONNX Runtime asked for the files of another backend, as the export does to measure them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from heme_edge.backends.onnxruntime_cpu import OnnxRuntimeBackend
from heme_edge.bundle import Bundle, load_bundle, sha256_of
from heme_edge.errors import BundleError
from tests.conftest import edit_manifest

HALF = "s8-symmetric-fp16"


def half_precision_model(classes: int) -> onnx.ModelProto:
    """Q/DQ in half precision around one convolution, whose last channel has tiny weights.

    There the scale of the input times that of the weights is less than half precision holds.
    """
    rng, half = np.random.default_rng(0), np.float16
    constants = {
        "step": np.array(2 / 127, half),
        "zero": np.array(0, np.int8),
        "weights": rng.integers(-127, 127, (classes, 3, 3, 3)).astype(np.int8),
        "steps": np.array([0.01] * (classes - 1) + [1e-6], half),
        "zeros": np.zeros(classes, np.int8),
        "bias": rng.normal(size=classes).astype(half),
        "shade": np.array(1 / 127.5, half),
        "flat": np.array([0, -1], np.int64),
        "one": np.array([1], np.int64),
        "nothing": np.array(0, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["crops"], ["cast"], to=TensorProto.FLOAT16),
        node("Transpose", ["cast"], ["turned"], perm=[0, 3, 1, 2]),
        node("Mul", ["turned", "shade"], ["pixels"]),
        node("QuantizeLinear", ["pixels", "step", "zero"], ["q_in"]),
        node("DequantizeLinear", ["q_in", "step", "zero"], ["in"]),
        node("DequantizeLinear", ["weights", "steps", "zeros"], ["kernel"], axis=0),
        node("Conv", ["in", "kernel", "bias"], ["convolved"], kernel_shape=[3, 3]),
        node("QuantizeLinear", ["convolved", "step", "zero"], ["q_out"]),
        node("DequantizeLinear", ["q_out", "step", "zero"], ["out"]),
        node("GlobalAveragePool", ["out"], ["pooled"]),
        node("Reshape", ["pooled", "flat"], ["half_logits"]),
        node("Cast", ["half_logits"], ["logits"], to=TensorProto.FLOAT),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("ReduceSum", ["probabilities", "one"], ["sum"], keepdims=0),
        node("Mul", ["sum", "nothing"], ["disagreement"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "half",
        [value("crops", TensorProto.UINT8, ["N", 96, 96, 3])],
        [
            value("probabilities", TensorProto.FLOAT, ["N", classes]),
            value("disagreement", TensorProto.FLOAT, ["N"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.fixture
def bundle(bundle_copy: Path) -> Bundle:
    """The default bundle with this symmetric half-precision file and no other symmetric one."""
    file = bundle_copy / "int8-symmetric-fp16.onnx"
    onnx.save(half_precision_model(len(load_bundle().codes)), file)
    other = {"file": file.name, "scheme": HALF, "opset": 19, "sha256": sha256_of(file)}
    model = {"precision": "int8", "tolerance": 1.0, **other}

    def replace_symmetric(content: dict[str, Any]) -> None:
        kept = [m for m in content["models"] if not m["scheme"].startswith("s8")]
        content["models"] = [*kept, model]

    edit_manifest(bundle_copy, replace_symmetric)
    return load_bundle(bundle_copy)


def test_a_half_precision_file_says_what_its_graph_says(bundle: Bundle) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (5, 96, 96, 3), np.uint8)
    as_written = ort.SessionOptions()
    as_written.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        str(bundle.path / "int8-symmetric-fp16.onnx"), as_written, ["CPUExecutionProvider"]
    )
    expected = session.run(["probabilities"], {"crops": crops})[0]
    backend = OnnxRuntimeBackend(bundle, "int8", schemes=(HALF,))
    got, disagreement = backend.infer(crops)
    backend.close()
    assert np.abs(got - expected).max() < 1e-4
    assert np.array_equal(disagreement, np.zeros(5, np.float32))


def test_the_first_scheme_the_bundle_has_is_opened(bundle: Bundle) -> None:
    crops, _ = bundle.reference()
    answers = []
    for chosen in ({}, {"schemes": ("s8-symmetric", "u8-asymmetric", HALF)}, {"schemes": (HALF,)}):
        backend = OnnxRuntimeBackend(bundle, "int8", **chosen)
        answers.append(backend.infer(crops[:8])[0])
        backend.close()
    own, same, half = answers
    assert np.array_equal(own, same)
    assert not np.allclose(own, half, atol=0.01)


def test_a_scheme_the_bundle_lacks_is_a_sentence(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="holds no int8 model for this backend"):
        OnnxRuntimeBackend(bundle, "int8", schemes=("s8-symmetric",))
