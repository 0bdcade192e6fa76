"""DeepHeme's layout, 23 classes, ResNeXt-50: fit, calibrate, evaluate, export, name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.cells import DEEPHEME_CODES
from tests.train.drawn import draw_deepheme_set


def heme(room: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", f"heme_{room}.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_23_classes_from_folders_to_a_bundle(tmp_path: Path) -> None:
    data, run, table = tmp_path / "data", tmp_path / "run", tmp_path / "confidence.npz"
    draw_deepheme_set(data)
    (data / "crops-manifest.csv").unlink()  # class folders alone
    changes = ("weights=none", "patience=0", "epochs=1", "draws=16", "batch=8", "device_batch=4")
    options = [word for change in changes for word in ("--set", change)]
    heme("train", "fit", "--data", data, "--run", run, "--recipe", "deepheme", *options)
    heme("train", "logits", run, "--data", data, "-o", table)
    written = run / "confidence.json"
    said = heme("calibration", "confidence", table, "--head", "sigmoid", "-o", written)
    heme("train", "evaluate", run, "--data", data, "--out", tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["n"] > 20
    assert (tmp_path / "report" / "report.html").is_file()
    heme("export", "bundle", run, "--data", data, "-o", tmp_path / "bundle", "--precision", "fp32")
    bundle = load_bundle(tmp_path / "bundle")
    assert tuple(bundle.codes) == DEEPHEME_CODES
    assert bundle.info.head == "sigmoid"
    assert bundle.info.temperature == json.loads(said)["temperature"]
    backend = open_backend(bundle, precision="fp32")
    named, _ = backend.infer(np.zeros((2, 96, 96, 3), np.uint8))
    backend.close()
    assert named.shape == (2, 23)
    assert np.allclose(named.sum(axis=1), 1.0, atol=1e-5)
