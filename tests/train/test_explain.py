"""Saliency, features and the shortcut alarm, on networks and features whose answer is known."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from heme_edge.cells import DEEPHEME_CODES
from heme_edge.cli_support import HemeGroup
from heme_edge.errors import HemeError, MissingExtraError
from heme_train.cli_explain import chosen_per_class, explain
from heme_train.data import Crop, open_crops
from heme_train.explain import (
    Explained,
    _grad_cam,
    _smooth_grad,
    cell_mask,
    explain_crops,
    feature_layer,
)
from heme_train.features import penultimate, project, shortcuts
from heme_train.fit import fit
from heme_train.models import create_network, import_timm
from heme_train.recipe import Recipe
from heme_train.runs import Run, load_run
from heme_train.sheets import class_sheet, overlay, scatter
from tests.conftest import draw_cell
from tests.train.drawn import draw_deepheme_set

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 slides: two of each role, one from each site."""
    return draw_deepheme_set(tmp_path_factory.mktemp("crops"), slides=14)


@pytest.fixture(scope="module")
def run_folder(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = Recipe(network="test_efficientnet", weights="none", epochs=1, draws=64, batch=16)
    fit(open_crops(drawn), folder, recipe)
    return folder


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return load_run(run_folder)


def test_the_cell_is_found_by_its_stain() -> None:
    mask, how = cell_mask(draw_cell(96, nucleus=14, cell=22))
    drawn = np.hypot(*(np.indices((96, 96)) - 48)) <= 22
    assert how == "stain"
    assert (mask & drawn).sum() > 0.97 * drawn.sum()
    assert mask.sum() < 1.5 * drawn.sum()


def test_a_neighbour_is_not_the_cell() -> None:
    image = np.full((96, 96, 3), (238, 232, 236), np.uint8)
    for x in (48, 88):
        cv2.circle(image, (x, 48), 16, (205, 190, 225), -1, cv2.LINE_AA)
        cv2.circle(image, (x, 48), 12, (70, 30, 150), -1, cv2.LINE_AA)
    mask, how = cell_mask(image)
    assert how == "stain"
    assert mask[48, 48]
    assert not mask[48, 80:].any()


def test_without_a_nucleus_there_is_a_disc() -> None:
    mask, how = cell_mask(np.full((96, 96, 3), 235, np.uint8))
    assert how == "disc"
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)


def test_grad_cam_of_pooling_and_one_layer_by_hand() -> None:
    """There the weights of the maps are those of the layer: relu(sum w A) / (h w)."""
    torch.manual_seed(0)
    network = create_network("test_resnet", 5, "none").eval()
    pixels = torch.randn(3, 3, 96, 96)
    named = torch.tensor([4, 0, 2])
    with torch.no_grad():
        maps = network.forward_features(pixels)  # type: ignore[operator]  # timm's, unknown to nn.Module
    weights = network.get_classifier().weight[named]  # type: ignore[operator]  # timm's, unknown to nn.Module
    by_hand = torch.einsum("nk,nkhw->nhw", weights, maps).clamp(min=0) / maps[0, 0].numel()
    by_hand = nn.functional.interpolate(by_hand[:, None], (96, 96), mode="bilinear")[:, 0]
    assert torch.allclose(_grad_cam(network, pixels, named), by_hand, atol=1e-6)
    assert by_hand.max() > 0


class Centre(nn.Module):
    """Class 1 is a weighted sum of the pixels in a disc, class 0 the sum of all others."""

    def __init__(self) -> None:
        super().__init__()
        disc = torch.from_numpy(np.hypot(*(np.indices((96, 96)) - 47.5)) <= 20).float()
        self.weights = torch.stack([1 - disc, 2 * disc])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,khw->nk", pixels, self.weights)


def test_smooth_grad_of_a_linear_network_is_its_weights() -> None:
    network, pixels = Centre(), torch.randn(2, 3, 96, 96)
    maps = _smooth_grad(network, pixels, torch.tensor([0, 1]), seed=0)
    assert torch.allclose(maps, network.weights, atol=1e-5)
    disc, _ = cell_mask(np.full((96, 96, 3), 235, np.uint8))
    crop = Crop("a.png", "M1", "g", "s", "test")
    shares = [
        Explained(crop, "M1", np.zeros((96, 96, 3), np.uint8), disc, "disc", {"smoothgrad": m})
        for m in maps.numpy()
    ]
    assert [e.share_inside("smoothgrad") for e in shares] == [0.0, 1.0]
    nothing = Explained(
        crop, "M1", shares[0].image, disc, "disc", {"smoothgrad": 0 * maps[0].numpy()}
    )
    assert nothing.share_inside("smoothgrad") is None
    assert nothing.chance == pytest.approx(0.136, abs=0.003)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("test_efficientnet", "bn2"),
        ("test_resnet", "layer4"),
        ("test_efficientnet+1000-100", "backbone.bn2"),
        ("efficientnet_lite0", "bn2"),
        ("mobilenetv4_conv_small", "blocks"),
    ],
)
def test_the_last_feature_map(name: str, layer: str) -> None:
    network = create_network(name, 5, "none").eval()
    names = {module: n for n, module in network.named_modules()}
    assert names[feature_layer(network, torch.zeros(1, 3, 96, 96))] == layer


def test_a_transformer_has_none() -> None:
    network = import_timm().create_model("test_vit", num_classes=5, img_size=96).eval()
    with pytest.raises(HemeError, match="ends in no feature map"):
        feature_layer(network, torch.zeros(1, 3, 96, 96))


def test_the_same_seed_explains_alike(run: Run, drawn: Path) -> None:
    crops = open_crops(drawn)
    rows = crops.select(["test"])[:2]
    images = [crops.image(row) for row in rows]
    one, two = (explain_crops(run, 0, rows, images, seed=3) for _ in range(2))
    assert [e.named for e in one] == [run.codes[i] for i in run.logits(images)[0].argmax(1)]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.maps["smoothgrad"], b.maps["smoothgrad"])
        assert all(m.shape == (96, 96) and m.min() >= 0 for m in a.maps.values())
    with pytest.raises(HemeError, match="no member 1"):
        explain_crops(run, 1, rows, images)


def test_features_are_what_enters_the_last_layer(run: Run, drawn: Path) -> None:
    crops = open_crops(drawn)
    images = [crops.image(row) for row in crops.crops[:5]]
    features = penultimate(run, 0, images, batch=2)
    with torch.inference_mode():
        logits = run.networks[0].get_classifier()(torch.from_numpy(features))  # type: ignore[operator]  # timm's, unknown to nn.Module
    assert np.allclose(logits.numpy(), run.logits(images)[0], atol=1e-5)
    assert penultimate(run, 0, []).shape == (0, 0)


def rows_of(code: str, sources: dict[str, int], groups: int = 6) -> Iterator[Crop]:
    for source, count in sources.items():
        for i in range(count):
            yield Crop(f"{code}{source}{i}", code, f"{code}{source}{i % groups}", source, "test")


def test_the_alarm_rings_where_the_source_shows() -> None:
    """M1: one of 40 features is shifted by source. M2: none is, but each group has its own."""
    rng = np.random.default_rng(0)
    rows = [*rows_of("M1", {"a": 60, "b": 20}), *rows_of("M2", {"a": 60, "b": 60})]
    rows += rows_of("M3", {"a": 30})
    features = rng.normal(0, 1, (len(rows), 40)).astype(np.float32)
    group = {name: rng.normal(0, 1, 40) for name in sorted({row.group for row in rows})}
    for i, row in enumerate(rows):
        if row.code == "M1":
            features[i, 7] += 6.0 * (row.source == "b")
        else:
            features[i] += group[row.group]
    (told, untold), silent = shortcuts(features, rows)
    assert (told.code, told.sources, told.crops, told.groups) == ("M1", ("a", "b"), 80, 12)
    assert told.accuracy > 0.9
    assert told.low <= told.accuracy <= told.high
    assert told.p == pytest.approx(1 / 200)
    assert told.alarm
    assert untold.code == "M2"
    assert untold.chance == 0.5
    assert not untold.alarm, "what groups differ in is not taken for what sources differ in"
    assert set(silent) == {"M3"}


def test_three_sources_have_a_chance_of_a_third() -> None:
    rows = list(rows_of("M1", {"a": 24, "b": 24, "c": 24}))
    features = np.random.default_rng(1).normal(0, 1, (72, 20)).astype(np.float32)
    features[:, 0] += [8.0 * "abc".index(row.source) for row in rows]
    features[:, 1] += [8.0 * (row.source == "b") for row in rows]
    (found,), _ = shortcuts(features, rows)
    assert found.chance == pytest.approx(1 / 3)
    assert found.accuracy > 0.9


def test_without_umap_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.zeros((12, 3), np.float32)
    with pytest.raises(HemeError, match="at least 10 crops, not 9"):
        project(features[:9])
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match="umap-learn") as caught:
        project(features)
    assert caught.value.hint == "pip install 'heme-edge[cluster]'"


def test_umap_keeps_apart_what_is_apart() -> None:
    if not os.environ.get("HEME_SLOW"):
        pytest.skip("HEME_SLOW is not set: umap is compiled for a minute")
    pytest.importorskip("umap", exc_type=ImportError)
    features = np.random.default_rng(0).normal(0, 1, (60, 8)).astype(np.float32)
    features[30:] += 20
    points = project(features)
    assert points.shape == (60, 2)
    middles = points[:30].mean(0), points[30:].mean(0)
    spread = max(points[:30].std(), points[30:].std())
    assert np.linalg.norm(middles[0] - middles[1]) > 3 * spread


def test_pictures() -> None:
    image, saliency = draw_cell(), np.zeros((96, 96), np.float32)
    saliency[40:50, 40:50] = 1
    cell, how = cell_mask(image)
    over = overlay(image, saliency, cell)
    assert over.shape == (192, 192, 3)
    assert int(over[90, 90].sum()) > int(over[10, 10].sum())
    maps = {"gradcam": saliency, "smoothgrad": 0 * saliency}
    one = Explained(Crop("a.png", "M1", "g", "s", "test"), "M2", image, cell, how, maps)
    sheet = class_sheet("M1", [one, one])
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 3 * 200 + 8
    points = np.random.default_rng(0).normal(0, 1, (46, 2)).astype(np.float32)
    plot = scatter(points, DEEPHEME_CODES * 2, "by class")
    assert plot.shape[1] == 720 + 190


def test_crops_are_drawn_from_each_source_in_turn() -> None:
    rows = [*rows_of("M1", {"a": 9, "b": 2}), *rows_of("L2", {"a": 1})]
    chosen = [rows[i] for i in chosen_per_class(rows, 4, 0)]
    assert [row.code for row in chosen] == ["L2", "M1", "M1", "M1", "M1"]
    assert sorted(row.source for row in chosen[1:]) == ["a", "a", "b", "b"]


@pytest.fixture(scope="module")
def group() -> click.Group:
    main = HemeGroup("main")
    main.add_command(explain)
    return main


def invoke(group: click.Group, run: Path, data: Path, out: Path, *more: str) -> "tuple[int, str]":
    arguments = ["explain", str(run), "--data", str(data), "--out", str(out), *more]
    done = CliRunner().invoke(group, arguments)
    return done.exit_code, done.output


def test_the_command(
    group: click.Group, run_folder: Path, drawn: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Without umap, whose part is tried above; everything else is written."""
    monkeypatch.setitem(sys.modules, "umap", None)
    more = ("--role", "test", "--role", "confidence", "--per-class", "1")
    code, said = invoke(group, run_folder, drawn, tmp_path / "out", *more)
    assert code == 0, said
    assert "of the saliency is on the cell" in said
    assert "umap-learn is not installed" in said
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {
        f"class-{c}.png" for c in DEEPHEME_CODES
    }
    with (tmp_path / "out" / "saliency.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 23
    assert all(0 <= float(row["share_inside"] or 0) <= 1 for row in rows)
    summary = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert summary["crops"] == 23 * 4
    assert len(summary["shortcut"]) == 23
    assert summary["saliency"]["crops"] == 23
    table = (tmp_path / "out" / "shortcut.csv").read_text().splitlines()
    assert table[0].startswith("code,sources,crops,groups,balanced_accuracy")
    assert len(table) == 24


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--member", "3"), "no member 3"),
        (("--role", "holiday"), "no crops to explain"),
        (("--source", "north", "--role", "x"), "no crops to explain"),
    ],
)
def test_wrong_use_is_a_sentence(
    group: click.Group, run_folder: Path, drawn: Path, tmp_path: Path,
    more: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    code, said = invoke(group, run_folder, drawn, tmp_path / "out", *more)
    assert code == 2
    assert says in said
    assert "Traceback" not in said


def test_one_source_is_said_so(
    group: click.Group, run_folder: Path, drawn: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "umap", None)
    more = ("--source", "north", "--per-class", "1")
    code, said = invoke(group, run_folder, drawn, tmp_path / "out", *more)
    assert code == 0, said
    assert "the alarm cannot be tried" in said
