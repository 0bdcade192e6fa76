"""``heme-calibrate optics`` and ``--optics`` as a user runs them; scales measured and asked."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from heme_edge.bundle import load_bundle
from heme_edge.detect.stain import background
from heme_edge.errors import BundleError
from heme_edge.optics.drift import DriftMeter, optics_table, stain_features
from heme_edge.optics.profile import load_profile, save_profile
from heme_edge.sim.cells import draw_cell
from heme_edge.sim.shapes import NoiseBank
from tests.conftest import Run, draw_field, edit_manifest, save
from tests.edge_runtime.optics_parts import UM_PER_PX, dimmed, even_profile, light, smears

ONE_BACKEND = ("--backend", "onnxruntime", "--precision", "fp32")


def calibrate(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "heme_calibration.cli", "optics", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k, image in enumerate(smears(3)):
        save(folder / f"{k}.png", dimmed(image, light(0.3)))
    return folder


def about(out: Path) -> dict[str, object]:
    return dict(json.loads((out / "run.json").read_text()))


def test_calibrate_then_classify(photos: Path, tmp_path: Path, heme_edge: Run) -> None:
    scope = tmp_path / "scope.json"
    done = calibrate("--photos", photos, "-o", scope, "--name", "left bench")
    assert done.returncode == 0, done.stderr
    assert "Research use only" in done.stdout
    profile = load_profile(scope)
    assert profile.um_per_px == pytest.approx(UM_PER_PX, rel=0.1)
    assert profile.um_per_px_low95 < UM_PER_PX < profile.um_per_px_high95
    options = ("--optics", scope, "--out", tmp_path / "out", *ONE_BACKEND)
    done = heme_edge("classify", photos, *options)
    assert done.returncode == 0, done.stderr
    run = about(tmp_path / "out")
    assert (run["um_per_px"], run["um_per_px_source"]) == (profile.um_per_px, "red-cells")
    assert isinstance(run["optics"], dict)
    assert run["optics"]["name"] == "left bench"
    assert run["optics"]["white_mapped"] is True
    done = heme_edge("live", "--camera", photos, "--headless", "--optics", scope, *ONE_BACKEND)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["um_per_px_low95"] == profile.um_per_px_low95


def test_scale_from_the_first_fields(photos: Path, tmp_path: Path, heme_edge: Run) -> None:
    done = heme_edge("classify", photos, "--out", tmp_path / "out", *ONE_BACKEND)
    assert done.returncode == 0, done.stderr
    assert "red cells" in done.stdout
    run = about(tmp_path / "out")
    assert run["um_per_px_source"] == "red-cells"
    assert run["um_per_px"] == pytest.approx(UM_PER_PX, rel=0.1)
    done = heme_edge("live", "--camera", photos, "--headless", *ONE_BACKEND)
    assert done.returncode == 0, done.stderr
    *frames, last = done.stdout.splitlines()
    frames = [line for line in frames if line.startswith('{"frame"')]
    assert len(frames) == 3  # those that were looked at first are not lost
    assert json.loads(last)["summary"]["um_per_px_source"] == "red-cells"


@pytest.mark.parametrize("kind", ["no cells", "blurred", "black", "saturated"])
def test_a_scale_that_cannot_be_told(kind: str, tmp_path: Path, heme_edge: Run) -> None:
    import cv2

    image = {
        "no cells": draw_field(),
        "blurred": cv2.GaussianBlur(smears(1)[0], (0, 0), 12),
        "black": np.zeros((480, 640, 3), np.uint8),
        "saturated": np.full((480, 640, 3), 255, np.uint8),
    }[kind]
    save(tmp_path / "in" / "a.png", np.asarray(image, np.uint8))
    done = heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "The scale cannot be told from the pictures" in done.stderr
    assert "--um-per-px" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2
    done = calibrate("--photos", tmp_path / "in", "-o", tmp_path / "scope.json")
    assert done.returncode == 2
    assert done.stderr.count("Error: ") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "scope.json").exists()


def test_on_a_terminal_the_scale_is_asked(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", draw_field())
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "heme_edge.cli", "classify", str(tmp_path / "in")]
    command += ["--out", str(tmp_path / "out"), *ONE_BACKEND]
    with subprocess.Popen(command, stdin=terminal, stderr=terminal, stdout=subprocess.DEVNULL) as p:
        os.write(main, b"0.25\n")
        assert p.wait(timeout=60) == 0
    os.close(terminal)
    os.close(main)
    run = about(tmp_path / "out")
    assert (run["um_per_px"], run["um_per_px_source"]) == (0.25, "given")


def test_another_shape_is_skipped_with_a_sentence(tmp_path: Path, heme_edge: Run) -> None:
    save_profile(even_profile(), tmp_path / "scope.json")
    save(tmp_path / "in" / "a.png", draw_field())
    options = ("--optics", tmp_path / "scope.json", "--out", tmp_path / "out", *ONE_BACKEND)
    done = heme_edge("classify", tmp_path / "in", *options)
    assert done.returncode == 2
    assert "another shape of frame" in (tmp_path / "out" / "photos.csv").read_text()
    done = heme_edge("live", "--camera", tmp_path / "in", "--headless", *options[:2], *ONE_BACKEND)
    assert done.returncode == 2
    assert "another shape of frame" in done.stderr


def test_neither_or_both_sources() -> None:
    done = calibrate("-o", "scope.json")
    assert done.returncode == 2
    assert "either --camera SRC or --photos DIR" in done.stderr


def test_a_bundle_without_the_table(bundle_copy: Path, tmp_path: Path, heme_edge: Run) -> None:
    """Made before there was one: it loads, and the white point is left alone and said to be."""
    edit_manifest(bundle_copy, lambda content: content.pop("optics"))
    assert load_bundle(bundle_copy).info.optics == {}
    save_profile(even_profile(), tmp_path / "scope.json")
    save(tmp_path / "in" / "a.png", smears(1)[0])
    options = ("--optics", tmp_path / "scope.json", "--bundle", bundle_copy, *ONE_BACKEND)
    done = heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert "white point is left alone" in done.stdout
    assert about(tmp_path / "out")["drift"] is None


@pytest.mark.parametrize("table", [{"white_rgb": [1, 2, 3]}, {"white_rgb": 1, "stain": {}}])
def test_a_damaged_table_is_refused(bundle_copy: Path, table: object) -> None:
    edit_manifest(bundle_copy, lambda content: content.update(optics=table))
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(bundle_copy)


def drawn(count: int, tint: tuple[float, ...] = (1, 1, 1), power: float = 1.0) -> np.ndarray:
    """Crops of drawn myelocytes, the light raised to ``power`` and tinted."""
    rng = np.random.default_rng(3)
    bank = NoiseBank(rng, 0.25)
    crops = np.ones((count, 96, 96, 3), np.float32)
    for crop in crops:
        share = draw_cell("M3", rng, bank, 0.25).share
        side = min(96, share.shape[0])
        low, cut = (96 - side) // 2, (share.shape[0] - side) // 2
        crop[low : low + side, low : low + side] = share[cut : cut + side, cut : cut + side]
    return np.rint(240 * crops**power * np.array(tint)).astype(np.uint8)


@pytest.mark.parametrize(
    ("crops", "warnings"),
    [
        (drawn(60), []),
        (drawn(60, (1, 0.8, 0.55)), ["background"]),
        (drawn(60, power=1.8), ["stain"]),
        (drawn(20, (1, 0.8, 0.55)), None),
    ],
)
def test_drift_is_warned_of(crops: np.ndarray, warnings: list[str] | None) -> None:
    meter = DriftMeter(optics_table(("here", crop) for crop in drawn(80)))
    meter.see(crops)
    report = meter.report()
    if warnings is None:
        assert report is None  # too few cells to say
        return
    assert report is not None
    assert len(report["warnings"]) == len(warnings)
    assert all(word in line for word, line in zip(warnings, report["warnings"], strict=True))


def test_no_table_no_drift() -> None:
    meter = DriftMeter({})
    meter.see(drawn(60))
    assert meter.report() is None


def test_stain_is_that_of_the_formula_at_a_fraction_of_its_time() -> None:
    rows, columns = np.mgrid[:96, :96] - 47.5
    near = np.hypot(rows, columns) < 40

    def formula(crop: np.ndarray) -> np.ndarray:
        white = background(crop, np.ones((96, 96), np.bool_))
        density = -np.log10(np.maximum(crop, 4.0) / white)
        red, green, blue = density.transpose(2, 0, 1)
        nucleus = near & (red + green - 2 * blue > 0.3)
        cytoplasm = near & ~nucleus & (red + green > 0.06)
        return np.log(np.concatenate([density[nucleus].mean(0), density[cytoplasm].mean(0)]))

    def seconds(measure: Callable[[np.ndarray], object], crop: np.ndarray) -> float:
        start = time.perf_counter()
        measure(crop)
        return time.perf_counter() - start

    quick, plain = [], []
    for crop in drawn(40):
        found = stain_features(crop)
        assert found is not None
        assert np.allclose(found[1], formula(crop))
        quick.append(seconds(stain_features, crop))
        plain.append(seconds(formula, crop))
    assert min(quick) < 0.7 * min(plain), "live measures 400 crops in its first seconds"
