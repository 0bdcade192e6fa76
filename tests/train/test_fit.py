"""A whole small training: fit, kill, resume, refuse."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from heme_edge.errors import HemeError
from heme_train.data import open_crops
from heme_train.draws import UNTOLD
from heme_train.fit import CHECKPOINT_FILE, Progress, fit, loss_of
from heme_train.models import RUN_FILE, WEIGHTS_FILE
from heme_train.recipe import Recipe


def test_it_learns_and_says_so(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    seen: list[Progress] = []
    recipe = replace(tiny, hold_out="fold0", epochs=4)
    weights = fit(open_crops(drawn_crops), tmp_path / "run", recipe, report=seen.append)
    assert [p.epoch for p in seen] == [1, 2, 3, 4]
    assert seen[-1].loss < seen[0].loss
    assert seen[-1].accuracy is not None
    state = torch.load(weights, weights_only=True)
    assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    content = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert content["codes"] == ["ER", "L2", "M1"]
    assert sum(content["training_images"]["ER"].values()) == 24
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()


def test_going_on_from_an_earlier_run(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fit(open_crops(drawn_crops), first, replace(tiny, epochs=3))
    seen: list[Progress] = []
    recipe = replace(tiny, weights=str(first), epochs=1, rate=1e-4)
    fit(open_crops(drawn_crops), second, recipe, report=seen.append)
    content = json.loads((second / RUN_FILE).read_text())
    assert content["first_weights"] == "none"
    assert seen[0].loss < 1.0, "it starts where the first run ended, not anew"


def test_a_finished_run_is_not_run_again(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    recipe = replace(tiny, epochs=1)
    first = fit(open_crops(drawn_crops), tmp_path, recipe).stat().st_mtime_ns
    assert fit(open_crops(drawn_crops), tmp_path, recipe).stat().st_mtime_ns == first


def test_another_recipe_in_the_same_folder_is_refused(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    fit(open_crops(drawn_crops), tmp_path, replace(tiny, epochs=1))
    with pytest.raises(HemeError, match="a run of another recipe"):
        fit(open_crops(drawn_crops), tmp_path, replace(tiny, epochs=2))


def test_killed_and_resumed_equals_undisturbed(drawn_crops: Path, tmp_path: Path) -> None:
    options = [
        "--network",
        "test_efficientnet",
        "--weights",
        "none",
        "--epochs",
        "4",
        "--draws",
        "96",
        "--batch",
        "16",
    ]

    def command(run: str) -> list[str]:
        start = [sys.executable, "-m", "heme_train.cli", "fit", "--data", str(drawn_crops)]
        return [*start, "--run", str(tmp_path / run), *options]

    with subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL) as process:
        checkpoint = tmp_path / "killed" / CHECKPOINT_FILE
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "killed" / WEIGHTS_FILE).exists()
    for run in ("killed", "undisturbed"):
        subprocess.run(command(run), check=True, capture_output=True)
    a, b = (
        torch.load(tmp_path / run / WEIGHTS_FILE, weights_only=True)
        for run in ("killed", "undisturbed")
    )
    for key, value in a.items():
        assert torch.allclose(value, b[key], atol=1e-6), key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hold_out": "fold9"}, "'fold9' is not a fold"),
        ({"sources": ("nowhere",)}, "fewer than two classes"),
        ({"network": "resnext9000"}, "timm has no network named 'resnext9000'"),
        ({"weights": "packaged"}, "no packaged weights for 'test_efficientnet'"),
        ({"weights": "missing.pt"}, r"weights file 'missing\.pt' does not exist"),
    ],
)
def test_wrong_use_is_a_sentence(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe, change: dict[str, object], says: str
) -> None:
    with pytest.raises(HemeError, match=says):
        fit(open_crops(drawn_crops), tmp_path / "run", replace(tiny, **change))  # type: ignore[arg-type]


def test_loss_of_told_and_untold_cells() -> None:
    """By hand: an untold cell costs -ln of what its nucleated classes sum to."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]))
    nucleated = torch.tensor([True, True, False])
    loss = loss_of(logits, torch.tensor([0, UNTOLD]), nucleated, 0.0)
    assert float(loss) == pytest.approx((-math.log(0.5) - math.log(0.4)) / 2)
    only = loss_of(logits[1:], torch.tensor([UNTOLD]), nucleated, 0.0)
    assert float(only) == pytest.approx(-math.log(0.4))
