"""One conformance suite over every backend x precision that works here, and over the fake."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from heme_edge.backends import check_all, open_backend, reference_difference, why_not
from heme_edge.backends.base import Backend
from heme_edge.backends.fake import FakeBackend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.errors import BackendError, BundleError
from tests.conftest import with_strict_int8

CPU_BACKENDS = [b for b in ("onnxruntime", "openvino") if not why_not(b)]
"""Those that need nothing but a package; TensorRT's has engines to build first."""
KINDS = ["fake", *(f"{b} {p}" for b in CPU_BACKENDS for p in load_bundle().precisions)]


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened: Backend
    if request.param == "fake":
        opened = FakeBackend(classes=5, max_batch=4)
    else:
        name, precision = request.param.split()
        opened = open_backend(load_bundle(), name, precision, threads=1)
    yield opened
    opened.close()


def crops(n: int) -> Image:
    return np.random.default_rng(n).integers(0, 256, (n, 96, 96, 3), np.uint8)


def test_empty_batch(backend: Backend) -> None:
    probabilities, disagreement = backend.infer(crops(0))
    assert probabilities.shape[0] == 0
    assert probabilities.shape[1] >= 2
    assert disagreement.shape == (0,)


@pytest.mark.parametrize("n", [1, 3, 7, 65])
def test_any_batch_size(backend: Backend, n: int) -> None:
    """One, odd, and more than the largest batch at once."""
    probabilities, disagreement = backend.infer(crops(n))
    assert probabilities.dtype == disagreement.dtype == np.float32
    assert probabilities.shape[0] == disagreement.shape[0] == n
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(n), abs=1e-4)
    assert (probabilities >= 0).all()
    assert (disagreement >= 0).all()


def test_splitting_changes_nothing(backend: Backend) -> None:
    many = crops(70)
    whole, _ = backend.infer(many)
    parts = np.concatenate([backend.infer(many[i : i + 9])[0] for i in range(0, 70, 9)])
    assert np.abs(whole - parts).max() < 1e-4


def test_the_same_twice(backend: Backend) -> None:
    assert np.array_equal(backend.infer(crops(5))[0], backend.infer(crops(5))[0])


def test_strided_input(backend: Backend) -> None:
    every_second = crops(8)[::2]
    expected, _ = backend.infer(np.ascontiguousarray(every_second))
    assert np.array_equal(backend.infer(every_second)[0], expected)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((1, 96, 96, 3), np.float32), "must be uint8, not float32"),
        (np.zeros((96, 96, 3), np.uint8), r"must be \[N, 96, 96, 3\]"),
        (np.zeros((1, 3, 96, 96), np.uint8), r"not \[1, 3, 96, 96\]"),
        ([[1]], "must be uint8, not list"),
    ],
)
def test_wrong_input_is_refused(backend: Backend, bad: Image, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        backend.infer(bad)


def test_closed(backend: Backend) -> None:
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="is closed"):
        backend.infer(crops(1))


def test_reference_is_reproduced(backend: Backend) -> None:
    if isinstance(backend, FakeBackend):
        with pytest.raises(ValueError, match="broadcast"):
            reference_difference(backend, load_bundle())
        return
    bundle = load_bundle()
    allowed = {m.precision: m.tolerance for m in bundle.info.models}[backend.precision]
    assert reference_difference(backend, bundle) <= allowed


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_a_precision_that_misses_its_reference_is_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine whose INT8 arithmetic saturates must fall back, and doctor must say why."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = with_strict_int8(load_bundle())
    with pytest.raises(BackendError, match=f"{name} int8 misses its reference on this machine"):
        open_backend(broken, name, "int8")
    fallback = open_backend(broken, name)
    assert fallback.precision != "int8"
    fallback.close()
    said = {c.precision: c for c in check_all(broken) if c.backend == name}
    assert said["fp32"].works
    assert not said["int8"].works
    assert "misses its reference" in said["int8"].reason


def test_unknown_names() -> None:
    with pytest.raises(BackendError, match="no backend 'abacus'"):
        open_backend(load_bundle(), "abacus")
    with pytest.raises(BundleError, match="holds no fp4 model"):
        open_backend(load_bundle(), precision="fp4")


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_a_foreign_onnx_file_is_refused(name: str, bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    (bundle_copy / "fp32.onnx").write_bytes(b"not a model")
    with pytest.raises(BackendError, match=r"cannot load 'fp32\.onnx'"):
        open_backend(bundle, name, "fp32")


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_a_network_of_something_else_is_refused(name: str, bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Cast", ["pixels"], ["scores"], to=TensorProto.FLOAT)],
        "other",
        [value("pixels", TensorProto.UINT8, ["N", 96, 96, 3])],
        [value("scores", TensorProto.FLOAT, ["N", 96, 96, 3])],
    )
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(other, bundle_copy / "fp32.onnx")
    with pytest.raises(BackendError, match="is not a heme-edge model"):
        open_backend(bundle, name, "fp32")


def test_int8_says_the_same_on_every_processor() -> None:
    """Without VNNI sums saturated at 16 bits: the mean difference was 0.0056, not 0.0011."""
    bundle = load_bundle()
    backend = open_backend(bundle, "onnxruntime", "int8")
    assert reference_difference(backend, bundle) < 0.002
    backend.close()


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_int8_names_cells_as_fp32_does(name: str) -> None:
    """OpenVINO's kernels without VNNI named one crop in twenty otherwise, and were chosen."""
    bundle = load_bundle()
    crops, expected = bundle.reference()
    backend = open_backend(bundle, name, "int8")
    got = backend.infer(crops)[0]
    backend.close()
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.98
