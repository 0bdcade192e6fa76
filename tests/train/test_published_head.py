"""DeepHeme's published network: its file is read, and a run of it goes the whole way."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import HemeError
from heme_train.data import open_crops
from heme_train.fit import fit
from heme_train.models import WEIGHTS_FILE, create_network, import_timm, load_whole
from heme_train.recipe import Recipe
from heme_train.runs import load_run
from tests.train.drawn import draw_deepheme_set

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def published() -> nn.Sequential:
    """torchvision's ResNeXt-50 by timm's hand (the names are the same), then 1000->100->23."""
    torch.manual_seed(0)
    resnext = import_timm().create_model("resnext50_32x4d")
    layers = (resnext, nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 23), nn.Sigmoid())
    return nn.Sequential(*layers).eval()


def as_published(state: State) -> State:
    """The names in the released files: a data-parallel wrapper of `pretrained`, `my_new_layers`."""
    new = {
        "0.": "module.pretrained.",
        "1.": "module.my_new_layers.0.",
        "3.": "module.my_new_layers.2.",
    }
    return {new[k[:2]] + k[2:]: v for k, v in state.items()}


def by_own_names(state: State) -> State:
    new = {"0.": "resnet.", "1.": "fc1.", "3.": "fc2."}
    return {new[k[:2]] + k[2:]: v for k, v in state.items()}


@pytest.mark.parametrize(
    ("names", "under"),
    [(dict, ""), (as_published, "model_state_dict"), (by_own_names, "state_dict")],
)
def test_a_published_state_dict_is_read(
    published: nn.Sequential, tmp_path: Path, names, under: str
) -> None:
    state = names(published.state_dict())
    torch.save({under: state, "epoch": 12} if under else state, tmp_path / "p.pt")
    network = load_whole(tmp_path / "p.pt", 23)
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(network(x).sigmoid(), published(x), atol=1e-6)


def test_torchvision_has_the_same_names() -> None:
    import_timm()
    why = "PyPI's torchvision does not fit a CPU build of torch"
    models = pytest.importorskip("torchvision.models", reason=why, exc_type=RuntimeError)
    theirs = models.resnext50_32x4d().state_dict()
    ours = create_network("deepheme", 23, "none").get_submodule("backbone").state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}


def test_what_does_not_fit_is_named(published: nn.Sequential, tmp_path: Path) -> None:
    path, state = tmp_path / "p.pt", published.state_dict()

    def refused(content: object, says: str, classes: int = 23) -> None:
        torch.save(content, path)
        with pytest.raises(HemeError, match=says):
            load_whole(path, classes)

    without = {k: v for k, v in state.items() if k != "0.layer3.2.conv2.weight"}
    refused(without, r"'layer3\.2\.conv2\.weight' is missing")
    refused(state, "'classifier.weight' is 23x100, not 13x100", 13)
    refused({k: v for k, v in state.items() if k[0] == "0"}, "two layers 1000->100->C")
    refused({k: v for k, v in state.items() if k != "1.bias"}, "'hidden.bias' is missing")
    refused(state | {"5.bias": torch.zeros(2)}, "'5.bias' has no place here")
    refused(published, "never pickled programs")


def test_start_from_imagenet_or_from_published_files(
    published: nn.Sequential, tmp_path: Path
) -> None:
    """As `--weights PATH`: a plain ResNeXt-50, or the published network for other classes."""
    state = published.state_dict()
    torch.save({k[2:]: v for k, v in state.items() if k[0] == "0"}, tmp_path / "imagenet.pt")
    torch.save(as_published(state), tmp_path / "published.pt")
    plain = create_network("deepheme", 23, str(tmp_path / "imagenet.pt")).state_dict()
    assert torch.equal(plain["backbone.fc.weight"], state["0.fc.weight"])
    other = create_network("deepheme", 13, str(tmp_path / "published.pt")).state_dict()
    assert torch.equal(other["hidden.weight"], state["1.weight"])
    assert other["classifier.weight"].shape == (13, 100)


def test_the_head_of_any_network() -> None:
    network = create_network("test_efficientnet+1000-100", 23, "none").eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        features = network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]  # timm's, unknown to nn.Module
        assert network(x).shape == (2, 23)
    assert features.shape == (2, 100)
    assert float(features.min()) == 0.0, "there is a ReLU between the two layers"
    linear = create_network("test_efficientnet+1000-100-linear", 23, "none")
    assert isinstance(linear.get_submodule("activation"), nn.Identity)
    with pytest.raises(HemeError, match=r"no head '\+7'"):
        create_network("test_efficientnet+7", 23, "none")


def test_a_23_class_resnext_is_fitted_and_opened(tmp_path: Path) -> None:
    crops = open_crops(draw_deepheme_set(tmp_path / "crops"))
    recipe = Recipe(network="deepheme", weights="none", epochs=1, draws=16, batch=8)
    assert fit(crops, tmp_path / "run", recipe)[0].name == WEIGHTS_FILE
    run = load_run(tmp_path / "run")
    assert run.codes == DEEPHEME_CODES
    logits = run.logits([crops.image(c) for c in crops.select(["test"])[:4]])
    assert logits.shape == (1, 4, 23)
    assert np.isfinite(logits).all()
