"""A sigmoid head gives p_i / sum(p), in torch and in the ONNX file alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from heme_calibration.confidence import ensemble_probabilities
from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import HemeError
from heme_export.graph import ensemble_module, export_onnx
from heme_train.models import PACKAGED_MEAN_STD, create_network, preprocessing
from heme_train.runs import Run

TEMPERATURE = 1.3


def crops(n: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(n).integers(0, 256, (n, 96, 96, 3), np.uint8)


def run_of(network: str, members: int) -> Run:
    """Untrained members, their biases spread so that a few classes are sure and most are not."""
    torch.manual_seed(0)
    networks = [create_network(network, 23, "none").eval() for _ in range(members)]
    for one in networks:
        bias = one.get_submodule("classifier").bias
        bias.data = 4 * torch.randn(23) - 6
    names = tuple(f"fold{i}" for i in range(members))
    prepare = preprocessing(*PACKAGED_MEAN_STD, False)
    return Run(DEEPHEME_CODES, tuple(networks), names, names, prepare, "sigmoid", {})


def by_onnx(run: Run, path: Path, images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"):  # type: ignore[no-untyped-def]  # arrays
    export_onnx(run, TEMPERATURE, path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "disagreement"], {"crops": images})


def test_torch_onnx_and_calibration_say_the_same(tmp_path: Path) -> None:
    run, images = run_of("test_efficientnet+1000-100", 2), crops(5)
    with torch.inference_mode():
        p, disagreement = (
            t.numpy() for t in ensemble_module(run, TEMPERATURE)(torch.from_numpy(images))
        )
    got, disagreed = by_onnx(run, tmp_path / "m.onnx", images)
    assert np.abs(got - p).max() < 1e-5
    assert np.abs(disagreed - disagreement).max() < 1e-5
    assert (disagreement > 0).all()
    logits = run.logits(list(images))
    assert np.abs(ensemble_probabilities(logits, TEMPERATURE, "sigmoid") - p).max() < 1e-5
    sigmoids = 1 / (1 + np.exp(-logits / TEMPERATURE))
    shares = (sigmoids / sigmoids.sum(2, keepdims=True)).mean(0)
    assert np.abs(shares - p).max() < 1e-5
    assert p.max() > 0.11, "a softmax of sigmoids over 23 classes never is"


def test_sigmoids_that_vanish_do_not_divide_by_zero(tmp_path: Path) -> None:
    """Every logit far below zero: float32 sigmoids are 0 there, their shares are not."""
    run = run_of("test_efficientnet", 1)
    run.networks[0].get_submodule("classifier").bias.data[:] = -400.0  # type: ignore[operator]  # it has a bias
    got, _ = by_onnx(run, tmp_path / "m.onnx", crops(3))
    assert np.isfinite(got).all()
    assert got.sum(1) == pytest.approx(np.ones(3), abs=1e-5)
    expected = ensemble_probabilities(run.logits(list(crops(3))), TEMPERATURE, "sigmoid")
    assert np.abs(got - expected).max() < 1e-4


def test_deepheme_is_exported(tmp_path: Path) -> None:
    run, images = run_of("deepheme", 1), crops(2)
    with torch.inference_mode():
        p, _ = ensemble_module(run, TEMPERATURE)(torch.from_numpy(images))
    got, disagreement = by_onnx(run, tmp_path / "m.onnx", images)
    assert got.shape == (2, 23)
    assert np.abs(got - p.numpy()).max() < 1e-5
    assert disagreement == pytest.approx(np.zeros(2), abs=1e-6)
    graph = onnx.load(tmp_path / "m.onnx").graph
    widths = {t.name: t.dims[1] for t in graph.initializer if len(t.dims) == 4}
    grouped = [n for n in graph.node if any(a.name == "group" and a.i > 1 for a in n.attribute)]
    assert {widths[n.input[1]] for n in grouped} == {16, 32}, "4 and 8 joined to 16"


def test_another_head_is_refused() -> None:
    run = replace(run_of("test_efficientnet", 1), head="hinge")
    with pytest.raises(HemeError, match="unknown head 'hinge'"):
        ensemble_module(run, 1.0)
