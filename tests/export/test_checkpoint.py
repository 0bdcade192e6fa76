"""A network heme-train did not train: from a file of weights to a bundle that says the same."""

import csv
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from heme_edge.backends import open_backend
from heme_edge.bundle import Bundle, load_bundle, sha256_of
from heme_edge.cells import DEEPHEME_CODES
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_export.checkpoint import read_codes, run_of_checkpoint
from heme_export.fill import Options
from heme_export.make import bundle_of_run, requantise
from heme_train.data import CropSet, open_crops
from heme_train.evaluate import crop_image
from heme_train.models import create_network
from heme_train.runs import Run
from heme_train.split import write_split
from tests.train.conftest import drawn_crops as drawn_crops
from tests.train.drawn import draw_deepheme_set

CODES = ("M1", "L2", "ER")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def crops(drawn_crops: Path) -> CropSet:
    return open_crops(drawn_crops)


def made_elsewhere(network: str, classes: int) -> nn.Module:
    """With random weights."""
    torch.manual_seed(0)
    return create_network(network, classes, "none").eval()


def trained_elsewhere(network: str, codes: Sequence[str], crops: CropSet,
                      mean: Sequence[float], std: Sequence[float]) -> nn.Module:  # fmt: skip
    """Random features; its last layer by ridge regression to logits of 4 and -4."""
    made = made_elsewhere(network, len(codes))
    rows = [c for c in crops.crops if c.role.startswith("fold")]
    pixels = normalised(np.stack([crop_image(crops, c) for c in rows]), mean, std)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # so that one pass sets the statistics
    with torch.no_grad():
        made.train()(pixels)
        features = made.eval().forward_head(made.forward_features(pixels), pre_logits=True)  # type: ignore[operator]  # timm's, unknown to nn.Module
        x = torch.cat([features, torch.ones(len(rows), 1)], 1).double()
        wanted = torch.tensor([[4.0 if c.code == code else -4.0 for code in codes] for c in rows])
        ridge = 1e-2 * x.square().mean() * torch.eye(x.shape[1])
        found = torch.linalg.solve(x.T @ x + ridge, x.T @ wanted.double())
        last = list(made.modules())[-1]
        assert isinstance(last, nn.Linear)
        last.weight.copy_(found[:-1].T)
        last.bias.copy_(found[-1])
    return made


def normalised(images: Image, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    pixels = (torch.from_numpy(images) / 255.0 - torch.tensor(mean)) / torch.tensor(std)
    return pixels.permute(0, 3, 1, 2).contiguous()


def saved(folder: Path, network: nn.Module, name: str = "w.pt") -> Path:
    torch.save(network.state_dict(), folder / name)
    return folder / name


def opened(path: Path, crops: CropSet, network: str = "test_efficientnet",
           codes: Sequence[str] = CODES, head: str = "softmax",
           mean: Sequence[float] = (), std: Sequence[float] = ()) -> Run:  # fmt: skip
    return run_of_checkpoint(path, network, codes, head, mean, std, crops)


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "heme_export.cli", "bundle", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def shown(crops: CropSet) -> Image:
    return np.stack([crop_image(crops, c) for c in crops.select(["test"])])


def said_by_torch(
    network: nn.Module,
    mean: Sequence[float],
    std: Sequence[float],
    images: Image,
    head: str,
    temperature: float,
) -> np.ndarray:
    """By hand: normalised, tempered, p_i / sum(p)."""
    with torch.inference_mode():
        logits = network(normalised(images, mean, std)).double() / temperature
    p = logits.sigmoid() if head == "sigmoid" else logits.exp()
    return (p / p.sum(1, keepdim=True)).numpy()


def said_by_bundle(bundle: Bundle, images: Image) -> np.ndarray:
    backend = open_backend(bundle, precision="fp32")
    try:
        return backend.infer(images)[0]
    finally:
        backend.close()


def same(run: Run, network: nn.Module) -> bool:
    ours, theirs = run.networks[0].state_dict(), network.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in ours.items())


# -- the whole way


def test_a_checkpoint_becomes_a_bundle(drawn_crops: Path, crops: CropSet, tmp_path: Path) -> None:
    half = (0.5,) * 3
    network = trained_elsewhere("test_resnet", CODES, crops, half, half)
    path = saved(tmp_path, network, "theirs.pth")
    told = ["--network", "test_resnet", "--classes", "M1,L2,ER", "--head", "softmax"]
    few = ("--calibration-count", 32, "--method", "Percentile")
    done = command(path, "-o", tmp_path / "b", "--data", drawn_crops, *few, *told)
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(tmp_path / "b")
    assert bundle.codes == CODES, "the order of the outputs, not of the alphabet"
    assert bundle.info.name == "theirs"
    assert bundle.precisions == ("fp32", "fp16", "int8")
    temperature = bundle.info.temperature
    expected = said_by_torch(network, half, half, shown(crops), "softmax", temperature)
    assert np.abs(said_by_bundle(bundle, shown(crops)) - expected).max() < 1e-5
    assert bundle.info.accuracy["fp32"]["test"]["accuracy"] > 0.8
    provenance = bundle.info.provenance
    assert provenance["first_weights"] == "checkpoint"
    assert provenance["recipe"]["weights"] == "theirs.pth"
    assert provenance["recipe"]["weights_sha256"] == sha256_of(path)


def test_the_published_head_with_sigmoids(tmp_path: Path) -> None:
    """DeepHeme's layout: 23 classes, 1000->100->23, a text file of codes with its old E0."""
    data = draw_deepheme_set(tmp_path / "data", per_slide=4)
    mean, std = (0.5594, 0.4984, 0.6937), (0.2701, 0.2835, 0.2176)
    crops, name = open_crops(data), "test_efficientnet+1000-100"
    network = trained_elsewhere(name, DEEPHEME_CODES, crops, mean, std)
    path = saved(tmp_path, network)
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join("E0" if c == "E1" else c for c in DEEPHEME_CODES) + "\n")
    told = ["--network", name, "--classes", classes, "--head", "sigmoid"]
    statistics = ["--mean", "0.5594,0.4984,0.6937", "--std", "0.2701,0.2835,0.2176"]
    more = ["--precision", "fp32", "--name", "published"]
    done = command(path, "-o", tmp_path / "b", "--data", data, *told, *statistics, *more)
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(tmp_path / "b")
    assert bundle.codes == DEEPHEME_CODES
    assert (bundle.info.head, bundle.info.name) == ("sigmoid", "published")
    assert tuple(bundle.info.provenance["mean"]) == mean
    assert tuple(bundle.info.provenance["std"]) == std
    temperature = bundle.info.temperature
    expected = said_by_torch(network, mean, std, shown(crops), "sigmoid", temperature)
    assert np.abs(said_by_bundle(bundle, shown(crops)) - expected).max() < 1e-5
    assert expected.min() < 0.01, "a softmax of sigmoids over 23 classes never is below 0.016"
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert "It names every class of the vocabulary." in card
    assert "| E4 | mature eosinophil | not known |" in card


def test_the_card_claims_nothing_of_unknown_training(
    drawn_crops: Path, crops: CropSet, tmp_path: Path
) -> None:
    run = opened(saved(tmp_path, made_elsewhere("test_efficientnet", 3)), crops)
    made = bundle_of_run(run, crops, tmp_path / "b", Options("x", ("fp32",)))
    again = requantise(made, crops, tmp_path / "again", Options("y", ("fp32",)))
    for bundle in (made, again):
        card = (bundle.path / "MODEL_CARD.md").read_text()
        assert "| L2 | lymphocyte | not known |" in card
        assert "may be among them; the figures would then be too good" in " ".join(card.split())
        assert "under which licence, is not known" in card
        assert "Never named:" in card
        assert "shown" not in card
        assert "ImageNet" not in card
        assert [c.train_images for c in bundle.info.classes] == [{}, {}, {}]
        assert bundle.info.training_data == ()


def test_roles_come_from_the_split_where_the_data_have_none(
    drawn_crops: Path, crops: CropSet, tmp_path: Path
) -> None:
    write_split(tmp_path / "split.csv", crops)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "crops-0.tar").symlink_to(drawn_crops / "crops-0.tar")
    with (drawn_crops / "crops-manifest.csv").open(newline="") as file:
        rows = [row[:4] for row in csv.reader(file)]
    with (bare / "crops-manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    path = saved(tmp_path, made_elsewhere("test_efficientnet", 3))
    told = ["--network", "test_efficientnet", "--classes", "M1,L2,ER", "--head", "softmax"]
    words = (path, "-o", tmp_path / "b", "--data", bare, "--precision", "fp32", *told)
    done = command(*words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "Error: The crops have no roles, and a checkpoint brings none."
    )
    assert "--split" in done.stderr.splitlines()[1]
    done = command(*words, "--split", tmp_path / "split.csv")
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "b").info.accuracy["fp32"]["test"]["n"] == 18


# -- what a file may be


@pytest.mark.parametrize(
    ("prefix", "wrap"),
    [
        ("", lambda s: s),
        ("module.", lambda s: {"state_dict": s, "epoch": 3}),
        ("model.", lambda s: {"model": s}),
        ("model.backbone.", lambda s: {"model_state_dict": s}),
        ("", lambda s: {"state_dict": s, "arch": "x", "args": Namespace(model="x", lr=0.1)}),
    ],
    ids=["plain", "parallel", "model", "nested", "timm"],
)
def test_wrappers(crops: CropSet, tmp_path: Path, prefix, wrap) -> None:  # type: ignore[no-untyped-def]  # of any state
    network = made_elsewhere("test_efficientnet", 3)
    torch.save(wrap({prefix + k: v for k, v in network.state_dict().items()}), tmp_path / "w.pt")
    run = opened(tmp_path / "w.pt", crops)
    assert same(run, network)
    assert not run.networks[0].training


def test_safetensors(crops: CropSet, tmp_path: Path) -> None:
    network = made_elsewhere("test_resnet", 3)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert same(opened(tmp_path / "w.safetensors", crops, "test_resnet"), network)
    (tmp_path / "w.safetensors").write_bytes(b"rubbish")
    with pytest.raises(HemeError, match="is not a state_dict"):
        opened(tmp_path / "w.safetensors", crops, "test_resnet")


def test_what_is_not_told_is_timms(crops: CropSet, tmp_path: Path) -> None:
    path = saved(tmp_path, made_elsewhere("test_efficientnet", 3))
    run = opened(path, crops)
    assert (run.content["mean"], run.content["std"]) == IMAGENET
    assert (run.names, run.hold_outs, run.confidence) == (("checkpoint",), ("none",), None)
    other = opened(path, crops, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert other.content["mean"] == (0.1, 0.2, 0.3)


# -- what is refused


def test_files_that_are_refused(crops: CropSet, tmp_path: Path) -> None:
    path, network = tmp_path / "w.pt", made_elsewhere("test_efficientnet", 3)
    state = network.state_dict()

    def refused(content: object, says: str, hint: str, name: str = "test_efficientnet") -> None:
        torch.save(content, path)
        with pytest.raises(HemeError, match=says) as caught:
            opened(path, crops, name)
        assert hint in caught.value.hint

    refused(network, "never pickled programs", "torch.save(network.state_dict(), PATH)")
    refused({"epoch": 3}, "is not a state_dict", "torch.save")
    refused(state, "another network: 'conv1.0.weight' is missing", "", "test_resnet")
    without = {k: v for k, v in state.items() if k != "classifier.bias"}
    refused(without, "another network: 'classifier.bias' is missing", "")
    refused(state | {"fc9.bias": torch.zeros(2)}, "'fc9.bias' has no place here", "deepheme")
    other = r"another network: 'classifier.weight' is 3x256, not 1000x256"
    refused(state, other, "", "test_efficientnet+1000-100")
    path.write_bytes(b"rubbish")
    with pytest.raises(HemeError, match="is not a state_dict"):
        opened(path, crops)


@pytest.mark.parametrize("network", ["test_efficientnet", "test_resnet", "test_vit"])
def test_another_number_of_classes(crops: CropSet, tmp_path: Path, network: str) -> None:
    path = saved(tmp_path, made_elsewhere(network, 5))
    with pytest.raises(HemeError, match=r"names 5 classes, not 3: '\w+\.weight' is 5x") as caught:
        opened(path, crops, network)
    assert "in order" in caught.value.hint


def test_another_number_of_classes_after_the_published_head(crops: CropSet, tmp_path: Path) -> None:
    name = "test_efficientnet+1000-100"
    path = saved(tmp_path, made_elsewhere(name, 23))
    with pytest.raises(HemeError, match="names 23 classes, not 3"):
        opened(path, crops, name)


def test_a_network_of_one_picture_size(crops: CropSet, tmp_path: Path) -> None:
    path = saved(tmp_path, create_network("vit_tiny_patch16_224", 3, "none"))
    with pytest.raises(HemeError, match="'vit_tiny_patch16_224' does not take crops of 96x96 px"):
        opened(path, crops, "vit_tiny_patch16_224")


def test_what_is_told_wrongly(crops: CropSet, tmp_path: Path) -> None:
    path = saved(tmp_path, made_elsewhere("test_efficientnet", 3))

    def refused(says: str, hint: str, **told: object) -> None:
        with pytest.raises(HemeError, match=says) as caught:
            opened(path, crops, **told)  # type: ignore[arg-type]  # wrong on purpose
        assert hint in caught.value.hint

    refused("timm has no network named 'resnet_9000'", "list_models", network="resnet_9000")
    refused(r"no head '\+7'", "+1000-100", network="test_efficientnet+7")
    refused("no head 'hinge'", "softmax, sigmoid", head="hinge")
    refused("'X9' is not a known cell class", "Known codes", codes=("M1", "X9", "ER"))
    refused("class E1 stands twice", "--classes", codes=("E1", "M1", "E0"))
    refused("two classes or more", "--classes", codes=("M1",))
    for mean, std in (((0.5,) * 3, ()), ((124.0, 116.0, 104.0), (58.0, 57.0, 57.0)),
                      ((0.5,) * 2, (0.5,) * 3), ((0.5,) * 3, (0.5, 0.5, 0.0)),
                      ((float("nan"),) * 3, (0.5,) * 3)):  # fmt: skip
        refused("three numbers each, of RGB in 0 to 1", "--mean", mean=mean, std=std)


def test_lists_of_classes(tmp_path: Path) -> None:
    assert read_codes("M1, l2,E0") == ("M1", "l2", "E0")
    file = tmp_path / "classes.txt"
    file.write_text("\ufeffM1\r\n\r\nL2\nER\n", encoding="utf-8")
    assert read_codes(str(file)) == CODES
    file.write_bytes(b"\xff\xfe\xfd")
    for given in (str(file), str(tmp_path / "none.txt"), "M1"):
        with pytest.raises(HemeError, match="is no list of classes"):
            read_codes(given)


def test_the_weights_of_a_run_are_not_a_checkpoint(crops: CropSet, tmp_path: Path) -> None:
    """They may be of a recipe that standardises its crops, which nobody would tell here."""
    path = saved(tmp_path, made_elsewhere("test_efficientnet", 3), "weights.pt")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(HemeError, match="is part of a training run") as caught:
        opened(path, crops)
    assert caught.value.hint == f"heme-export bundle {tmp_path}"


def test_options_where_they_belong(drawn_crops: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, made_elsewhere("test_efficientnet", 3))
    end = ("-o", tmp_path / "b", "--data", drawn_crops)
    for arguments, says in [
        ((path, *end), "is a checkpoint, which does not say its network"),
        ((path, "--network", "test_efficientnet", *end), "does not say its classes"),
        ((tmp_path, "--head", "sigmoid", *end), "--head is of a checkpoint, a file"),
        ((path, "--mean", "a,b,c", *end), "Three numbers with commas"),
    ]:
        done = command(*arguments)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "b").exists()


def test_int8_needs_crops_of_a_fold(crops: CropSet, tmp_path: Path) -> None:
    few = replace(crops, crops=crops.select(["test", "confidence"]))
    run = opened(saved(tmp_path, made_elsewhere("test_efficientnet", 3)), few)
    with pytest.raises(HemeError, match="no crops of a fold"):
        bundle_of_run(run, few, tmp_path / "b", Options("x"))
    made = bundle_of_run(run, few, tmp_path / "b", Options("x", ("fp32",)))
    assert made.precisions == ("fp32",)
