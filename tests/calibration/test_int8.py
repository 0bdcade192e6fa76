"""Ranges measured on crops from a folder, and the INT8 files made from them."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from heme_calibration.crops import folder_crops, is_refused, refused_hashes
from heme_calibration.int8 import depths, load_prepared, quantise
from heme_calibration.ranges import load_ranges, measure_ranges, save_ranges
from heme_calibration.rounding import rounded
from heme_calibration.shifts import take_off
from heme_edge.bundle import DEFAULT_BUNDLE
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_edge.photos import byte_hash
from tests.conftest import draw_cell, save


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions, a clip, a mean and a classifier, as exporters write them."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 4), "b1": 8, "b2": 8, "b3": 4}
    constants = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    constants += [
        numpy_helper.from_array(np.float32(v), n) for n, v in (("lo", 0.0), ("hi", 6.0), ("k", 64))
    ]
    nodes = [
        helper.make_node("Cast", ["crops"], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "k"], ["scaled"], "scale"),
        helper.make_node("Transpose", ["scaled"], ["x"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "one", strides=[4, 4]),
        helper.make_node("Clip", ["c1", "lo", "hi"], ["a1"], "clip"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "two"),
        helper.make_node("GlobalAveragePool", ["c2"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], "classify"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
        helper.make_node("ReduceMax", ["probabilities"], ["disagreement"], axes=[1], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 96, 96, 3])]
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("disagreement", TensorProto.FLOAT, ["N"]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path_factory.mktemp("network") / "fp32.onnx"
    onnx.save(model, path)
    return path


def noise(count: int) -> Iterator[Image]:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(count))


def crops_in(folder: Path, **counts: int) -> Path:
    for code, count in counts.items():
        (folder / code).mkdir(parents=True)
        for i in range(count):
            save(folder / code / f"{i}.png", draw_cell(nucleus=8 + i, cell=30 + 2 * ord(code) % 9))
    return folder


def command(*arguments: str | Path | int) -> "subprocess.CompletedProcess[str]":
    start = [sys.executable, "-m", "heme_calibration.cli", "int8", DEFAULT_BUNDLE]
    return subprocess.run(list(map(str, [*start, *arguments])), capture_output=True, text=True)


# -- crops from a folder


def test_classes_take_turns(tmp_path: Path) -> None:
    crops_in(tmp_path, A=9, B=3)
    seen = [c.tobytes() for c in folder_crops(tmp_path, 6)]
    b = {cv2.imread(str(p))[..., ::-1].tobytes() for p in (tmp_path / "B").iterdir()}
    assert len(seen) == 6
    assert len(b & set(seen)) == 3
    assert len(list(folder_crops(tmp_path, 100))) == 12


def test_a_photo_that_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    crops_in(tmp_path, A=3)
    whole = (tmp_path / "A" / "0.png").read_bytes()
    (tmp_path / "A" / "0.png").write_bytes(whole[: len(whole) // 2])
    told: list[str] = []
    assert len(list(folder_crops(tmp_path, 10, say=told.append))) == 2
    assert len(told) == 1
    assert told[0].startswith("left out: 0.png: ")


def test_a_crop_of_a_refused_role_is_refused(tmp_path: Path) -> None:
    crops_in(tmp_path / "crops", A=3)
    data = (tmp_path / "crops" / "A" / "1.png").read_bytes()
    split = tmp_path / "split.csv"
    split.write_text(f"file,role,sha256\na.png,fold1,0\nb.png,confidence,{byte_hash(data)}\n")
    refused = refused_hashes(split, ("none",))
    assert refused == {byte_hash(data)}
    with pytest.raises(HemeError, match=r"1\.png' is a crop that this network is tested, fitted"):
        list(folder_crops(tmp_path / "crops", 10, refused))


@pytest.mark.parametrize(
    ("role", "hold_outs", "refused"),
    [
        ("test", ("none",), True),
        ("confidence", ("fold0", "fold1"), True),
        ("fold0", ("none",), False),
        ("fold0", ("fold0",), True),
        ("fold0", ("fold0", "fold1"), False),
        ("fold2", ("fold0",), False),
    ],
)
def test_which_roles_are_refused(role: str, hold_outs: tuple[str, ...], refused: bool) -> None:
    """A fold that one network held out was trained on by the others of an ensemble."""
    assert is_refused(role, hold_outs) == refused


# -- the command


def test_ranges_by_command(tmp_path: Path) -> None:
    crops_in(tmp_path / "crops", A=10, B=10)
    ranges = tmp_path / "ranges.json"
    done = command("--crops", tmp_path / "crops", "-o", ranges, "--method", "MinMax")
    assert done.returncode == 0, done.stderr
    assert "on 20 crops, by MinMax" in done.stdout
    read = load_ranges(ranges, DEFAULT_BUNDLE / "fp32.onnx")
    assert read.crops == 20
    assert list(read.bounds) == ["MinMax"]


@pytest.mark.parametrize(
    ("count", "says"),
    [(2, "INT8 calibration needs at least 16 crops, not 2."), (0, "There are no photos in")],
)
def test_too_few_crops(tmp_path: Path, count: int, says: str) -> None:
    crops_in(tmp_path / "crops", A=count)
    done = command("--crops", tmp_path / "crops", "-o", tmp_path / "r.json", "--method", "MinMax")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_refused_crops_by_command(tmp_path: Path) -> None:
    crops_in(tmp_path / "crops", A=20)
    digest = byte_hash((tmp_path / "crops" / "A" / "7.png").read_bytes())
    split = tmp_path / "split.csv"
    split.write_text(f"file,role,sha256\nb.png,test,{digest}\n")
    done = command("--crops", tmp_path / "crops", "--split", split, "-o", tmp_path / "r.json")
    assert done.returncode == 2
    assert "7.png' is a crop that this network is tested" in done.stderr
    split.write_text("no,columns\n1,2\n")
    done = command("--crops", tmp_path / "crops", "--split", split, "-o", tmp_path / "r.json")
    assert "is no split.csv" in done.stderr


# -- ranges


def test_crops_stream(network: Path) -> None:
    """Twenty times the crops, 53 MB of them, in the same memory."""

    def peak(count: int) -> int:
        tracemalloc.start()
        measure_ranges(network, noise(count), ("Percentile",))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(32)
    assert peak(1920) < peak(96) + 4e6


def test_methods_differ_as_they_should(network: Path) -> None:
    bounds = measure_ranges(network, noise(64)).bounds
    for name, (low, high) in bounds["MinMax"].items():
        for method in ("Percentile", "Entropy"):
            assert low - 1e-3 <= bounds[method][name][0] <= bounds[method][name][1] <= high + 1e-3
    widths = {m: sum(high - low for low, high in b.values()) for m, b in bounds.items()}
    assert widths["Entropy"] < widths["MinMax"], "with 128 bins it is MinMax by another name"
    assert widths["Percentile"] < widths["MinMax"]


def test_ranges_are_kept_for_their_network_only(network: Path, tmp_path: Path) -> None:
    ranges = measure_ranges(network, noise(20), ("MinMax",))
    save_ranges(ranges, tmp_path / "r.json")
    assert load_ranges(tmp_path / "r.json", network) == ranges
    with pytest.raises(HemeError, match="are of another network"):
        load_ranges(tmp_path / "r.json", DEFAULT_BUNDLE / "fp32.onnx")
    for rubbish in ("{", "[]", json.dumps({"bounds": {}})):
        (tmp_path / "r.json").write_text(rubbish)
        with pytest.raises(HemeError, match="holds no INT8 ranges"):
            load_ranges(tmp_path / "r.json", network)


# -- files


def test_depths_leave_preprocessing_and_head_out(network: Path) -> None:
    found = depths(load_prepared(network))
    assert found == {"one": 1, "clip": 1, "two": 2, "pool": 2, "flat": 2, "classify": 3}


@pytest.mark.parametrize("scheme", ["u8-asymmetric", "s8-symmetric"])
def test_schemes(network: Path, tmp_path: Path, scheme: str) -> None:
    bounds = measure_ranges(network, noise(20), ("MinMax",)).bounds["MinMax"]
    quantise(load_prepared(network), tmp_path / "q.onnx", bounds, scheme, ["one"])
    graph = onnx.load(tmp_path / "q.onnx").graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    scales = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    kinds = {constants[n.input[2]].dtype.name for n in scales}
    biases = [
        n
        for n in graph.node
        if n.op_type == "DequantizeLinear"
        and n.input[0] in constants
        and constants[n.input[0]].dtype == np.int32
    ]
    assert next(n for n in graph.node if n.name == "one").input[1] == "w1", "kept in fp32"
    if scheme == "u8-asymmetric":
        assert kinds == {"uint8"}
        assert biases
    else:
        assert kinds == {"int8"}
        assert all(constants[n.input[2]] == 0 for n in scales)
        assert not biases


def test_a_float_layer_may_be_given_bytes(network: Path, tmp_path: Path) -> None:
    bounds = measure_ranges(network, noise(20), ("MinMax",)).bounds["MinMax"]
    for given_bytes, maker in ((), "Clip"), (["two"], "DequantizeLinear"):
        model = load_prepared(network)
        quantise(model, tmp_path / "q.onnx", bounds, "u8-asymmetric", ["two"], given_bytes)
        graph = onnx.load(tmp_path / "q.onnx").graph
        two = next(node for node in graph.node if node.name == "two")
        assert two.input[1] == "w2", "its weights stay"
        assert maker in {node.op_type for node in graph.node if two.input[0] in node.output}


@pytest.mark.parametrize("scheme", ["u8-asymmetric", "s8-symmetric"])
def test_max_pooling_is_of_bytes_and_says_the_same(
    network: Path, tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(network)
    clip = next(i for i, node in enumerate(model.graph.node) if node.name == "clip")
    model.graph.node[clip + 1].input[0] = "m1"
    sides = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    model.graph.node.insert(clip + 1, helper.make_node("MaxPool", ["a1"], ["m1"], "max", **sides))
    onnx.save(model, tmp_path / "fp32.onnx")
    bounds = measure_ranges(tmp_path / "fp32.onnx", noise(20), ("MinMax",)).bounds["MinMax"]

    def answers(name: str) -> object:
        quantise(load_prepared(tmp_path / "fp32.onnx"), tmp_path / name, bounds, scheme)
        session = onnxruntime.InferenceSession(tmp_path / name)
        return session.run(None, {"crops": np.stack(list(noise(4)))})[0].tolist()

    said = answers("bytes.onnx")
    graph = onnx.load(tmp_path / "bytes.onnx").graph
    pool = next(node for node in graph.node if node.name == "max")
    made = {name: node.op_type for node in graph.node for name in node.output}
    assert made[pool.input[0]] == "DequantizeLinear"
    assert {n.op_type for n in graph.node if pool.output[0] in n.input} == {"QuantizeLinear"}
    monkeypatch.setattr("heme_calibration.int8._pool_bytes", lambda graph: None)
    assert answers("floats.onnx") == said


def test_shifts_are_what_rounded_weights_add(network: Path) -> None:
    model = load_prepared(network)
    ranges = measure_ranges(network, noise(32), ("MinMax",))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    conv = next(n for n in model.graph.node if n.name == "one")
    weights = constants[conv.input[1]]
    error = rounded(weights)[0] - weights
    mean = np.zeros((3, 3, 3))
    for crop in noise(32):
        x = crop.transpose(2, 0, 1) / 64
        for i in range(3):
            for j in range(3):
                mean[:, i, j] += x[:, i : i + 93 : 4, j : j + 93 : 4].mean((1, 2)) / 32
    expected = (error * mean).sum((1, 2, 3))
    assert np.allclose(ranges.shifts["one"], expected, atol=1e-5)
    moved = take_off(model, ranges.shifts, ["two"])
    after = {t.name: numpy_helper.to_array(t) for t in moved.graph.initializer}
    inputs = {n.name: n.input for n in moved.graph.node}
    assert np.allclose(after[inputs["one"][2]], constants[conv.input[2]] - expected, atol=1e-5)
    assert inputs["two"][2] == "b2", "a float layer keeps its bias"
