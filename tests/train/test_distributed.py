"""Two processes train what one does, where the norm does not depend on the batch."""

import subprocess
from pathlib import Path

import pytest
import torch

from heme_train.models import WEIGHTS_FILE
from tests.train.test_fit import command, metrics


@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_two_processes_equal_one(drawn_crops: Path, tmp_path: Path, norm: str) -> None:
    # Adam divides by the size of a gradient, which where it is nearly nothing magnifies the last
    # digit; a small rate keeps that below what is asked
    more = ["--set", f"norm={norm}", "--set", "epochs=2", "--set", "draws=60", "--set", "rate=2e-4"]
    runs = tmp_path / "one", tmp_path / "two"
    subprocess.run(command(drawn_crops, runs[0], *more), check=True, capture_output=True)
    subprocess.run(
        command(drawn_crops, runs[1], *more, "--devices", "2"), check=True, capture_output=True
    )
    one, two = (torch.load(run / WEIGHTS_FILE, weights_only=True)["state_dict"] for run in runs)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.allclose(value.float(), two[key].float(), atol=1e-4), key
    assert len(metrics(runs[0])) == len(metrics(runs[1])) == 3


def test_accumulated_passes_equal_one_pass(drawn_crops: Path, tmp_path: Path) -> None:
    runs = tmp_path / "whole", tmp_path / "parts"
    for run, size in zip(runs, (16, 4), strict=True):
        more = ["--set", "norm=frozen", "--set", "epochs=1", "--set", "rate=2e-4"]
        more += ["--set", f"device_batch={size}"]
        subprocess.run(command(drawn_crops, run, *more), check=True, capture_output=True)
    one, two = (torch.load(run / WEIGHTS_FILE, weights_only=True)["state_dict"] for run in runs)
    for key, value in one.items():
        assert torch.allclose(value.float(), two[key].float(), atol=1e-4), key
