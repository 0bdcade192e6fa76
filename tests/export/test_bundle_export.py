"""From a small finished run to a bundle, and what the bundle promises."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from heme_edge.backends import open_backend
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.errors import HemeError
from heme_export.fill import Options
from heme_export.graph import ensemble_module
from heme_export.make import make_bundle, requantise
from heme_train.data import open_crops
from heme_train.models import WEIGHTS_FILE
from heme_train.runs import load_run

FEW = ("--calibration-count", 50, "--method", "Percentile")


def crops(n: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(n).integers(0, 256, (n, 96, 96, 3), np.uint8)


def test_graph_begins_with_the_cast_and_has_opset_17(bundle: Bundle) -> None:
    model = onnx.load(bundle.path / "fp32.onnx")
    assert model.graph.node[0].op_type == "Cast"
    assert model.opset_import[0].version == 17
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["N", 96, 96, 3]


def test_onnx_says_what_torch_says(run: Path, bundle: Bundle) -> None:
    module = ensemble_module(load_run(run), bundle.info.temperature)
    with torch.inference_mode():
        expected, _ = module(torch.from_numpy(crops(9)))
    backend = open_backend(bundle, precision="fp32")
    got, disagreement = backend.infer(crops(9))
    backend.close()
    assert np.abs(got - expected.numpy()).max() < 1e-5
    assert disagreement == pytest.approx(np.zeros(9), abs=1e-6)


def test_two_members_are_averaged_and_disagree(run: Path) -> None:
    one = load_run(run)
    other = load_run(run)
    torch.manual_seed(0)
    for parameter in other.networks[0].parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    pair = replace(one, networks=(one.networks[0], other.networks[0]))
    x = torch.from_numpy(crops(4))
    with torch.inference_mode():
        p, disagreement = ensemble_module(pair, 20.0)(x)
        alone = [ensemble_module(r, 20.0)(x)[0] for r in (one, other)]
    mean = (alone[0] + alone[1]) / 2
    assert torch.allclose(p, mean, atol=1e-6)
    entropy = [-(q * q.clamp(min=1e-7).log()).sum(1) for q in (mean, *alone)]
    assert torch.allclose(disagreement, entropy[0] - (entropy[1] + entropy[2]) / 2, atol=1e-5)
    assert (disagreement > 0).any()


def test_head_stays_in_floating_point_in_int8(bundle: Bundle) -> None:
    model = onnx.load(bundle.path / "int8.onnx")
    by_output = {o: n for n in model.graph.node for o in n.output}
    softmax = next(n for n in model.graph.node if n.op_type == "Softmax")
    assert by_output[softmax.input[0]].op_type in ("DequantizeLinear", "Div", "Mul")
    assert any(n.op_type == "QuantizeLinear" for n in model.graph.node)
    for node in model.graph.node:
        if node.op_type in ("Softmax", "Log", "ReduceSum"):
            assert not any(
                by_output[i].op_type == "DequantizeLinear" and node.op_type != "Softmax"
                for i in node.input
                if i in by_output
            )


def test_nothing_is_put_into_eight_bits_before_its_clip() -> None:
    """A range of -40 to 40 measured before a ReLU6 leaves 0 to 6 with four bits."""
    graph = onnx.load(load_bundle().path / "int8.onnx").graph
    by_output = {o: n.op_type for n in graph.node for o in n.output}
    body = [n for n in graph.node if n.op_type == "Clip" and n.name.startswith("/members")]
    assert len(body) > 30
    assert {by_output[n.input[0]] for n in body} == {"Conv"}


def test_a_bundle_is_quantised_anew_without_its_run(
    bundle: Bundle, drawn_crops: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "heme_export.cli", "bundle", bundle.path, "-o", tmp_path / "b"]
    done = subprocess.run(
        list(map(str, [*command, "--data", drawn_crops, *FEW])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = load_bundle(tmp_path / "b")
    assert (made.path / "fp32.onnx").read_bytes() == (bundle.path / "fp32.onnx").read_bytes()
    assert made.info.name == bundle.info.name
    assert made.info.temperature == bundle.info.temperature
    assert made.info.calibration["crops"] == 50, "not only whole batches of 32"
    assert made.info.accuracy["fp32"] == bundle.info.accuracy["fp32"]
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_bundle_of_another_split_is_refused(
    bundle: Bundle, drawn_crops: Path, tmp_path: Path
) -> None:
    crops_ = open_crops(drawn_crops)
    crops_.crops.pop()
    with pytest.raises(HemeError, match="not those the run was split on"):
        requantise(bundle, crops_, tmp_path / "b", Options("x"))
    assert list(tmp_path.iterdir()) == []


def test_the_bundle_describes_itself(bundle: Bundle) -> None:
    info = bundle.info
    assert bundle.codes == ("ER", "L2", "M1")
    assert info.accuracy["fp32"]["test"]["n"] == 18
    assert info.accuracy["fp32"]["test"]["accuracy"] > 0.8
    assert info.parity["crops"] == 18
    assert info.parity["small"]
    assert set(info.parity["files"]) == {m.file for m in info.models}
    assert info.calibration["crops"] == 64
    card = (bundle.path / "MODEL_CARD.md").read_text()
    for word in ("Research use only", "Never shown", "PL2 (megakaryocyte)", "licence", "L2"):
        assert word.lower() in card.lower()
    confusion = (bundle.path / "confusion.csv").read_text().splitlines()
    assert confusion[0] == "true,ER,L2,M1"
    assert sum(int(v) for line in confusion[1:] for v in line.split(",")[1:]) == 18


def test_another_split_is_refused(run: Path, drawn_crops: Path, tmp_path: Path) -> None:
    crops_ = open_crops(drawn_crops)
    crops_.crops.pop()
    with pytest.raises(HemeError, match="not those the run was split on"):
        make_bundle(run, crops_, tmp_path / "b", Options("x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("precisions", "says"), [(("int8",), "needs fp32"), (("fp32", "fp4"), "no precision 'fp4'")]
)
def test_wrong_precisions(
    run: Path, drawn_crops: Path, tmp_path: Path, precisions: tuple[str, ...], says: str
) -> None:
    with pytest.raises(HemeError, match=says):
        make_bundle(run, open_crops(drawn_crops), tmp_path / "b", Options("x", precisions))


def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    with pytest.raises(HemeError, match="has not ended"):
        load_run(tmp_path)
    with pytest.raises(HemeError, match="is not a training run"):
        load_run(tmp_path / "none")


def test_the_commands(run: Path, drawn_crops: Path, tmp_path: Path) -> None:
    """heme-export bundle, then heme-train evaluate on what it wrote."""
    assert (run / WEIGHTS_FILE).is_file()
    start = [sys.executable, "-m", "heme_export.cli", "bundle", run, "-o", tmp_path / "b"]
    end = ["--data", drawn_crops, "--precision", "fp32", "--name", "by command"]
    done = subprocess.run(list(map(str, [*start, *end])), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "b").info.name == "by command"
    evaluate = [sys.executable, "-m", "heme_train.cli", "evaluate", tmp_path / "b"]
    done = subprocess.run(
        list(map(str, [*evaluate, "--data", drawn_crops, "--out", tmp_path / "m"])),
        capture_output=True,
        text=True,
    )
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert json.loads(done.stdout) == metrics
    assert metrics["n"] == 18
    assert set(metrics["per_class"]) == {"ER", "L2", "M1"}
