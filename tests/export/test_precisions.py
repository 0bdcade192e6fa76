"""Every precision of a bundle, and the certificate that it says what the network says."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from heme_calibration.choose import fewest_float_layers
from heme_calibration.int8 import depths, load_prepared
from heme_calibration.ranges import load_ranges, save_ranges
from heme_edge.bundle import Bundle, load_bundle
from heme_export.certificate import ParityError, accept
from heme_export.fill import Options
from heme_export.graph import ensemble_module, export_onnx
from heme_export.half import to_half
from heme_export.make import _rows
from heme_export.precisions import files_of
from heme_export.tolerances import TOLERANCES, compare, losses
from heme_train.data import CropSet, open_crops
from heme_train.runs import load_run
from tests.conftest import save

FILES = {
    "fp32.onnx": ("fp32", "float", 17),
    "fp16.onnx": ("fp16", "float", 17),
    "int8.onnx": ("int8", "u8-asymmetric", 17),
    "int8-symmetric.onnx": ("int8", "s8-symmetric", 17),
    "int8-symmetric-fp16.onnx": ("int8", "s8-symmetric-fp16", 19),
}


def export(
    source: Path, out: Path, *options: str | Path | int
) -> "subprocess.CompletedProcess[str]":
    start = [sys.executable, "-m", "heme_export.cli", "bundle", source, "-o", out]
    command = list(map(str, [*start, "--method", "Percentile", *options]))
    return subprocess.run(command, capture_output=True, text=True)


# -- files


def test_every_file_is_there_valid_and_of_its_opset(bundle: Bundle) -> None:
    assert {m.file: (m.precision, m.scheme, m.opset) for m in bundle.info.models} == FILES
    for file, (_, _, opset) in FILES.items():
        onnx.checker.check_model(str(bundle.path / file), full_check=True)
        model = onnx.load(bundle.path / file)
        assert next(o.version for o in model.opset_import if o.domain == "") == opset
        assert [n.op_type for n in model.graph.node if "crops" in n.input] == ["Cast"]


def test_mixed_files_need_both_precisions() -> None:
    assert [m.file for m in files_of(("fp32", "int8"))] == [
        "fp32.onnx", "int8.onnx", "int8-symmetric.onnx"
    ]  # fmt: skip


@pytest.mark.parametrize("file", ["fp16.onnx", "int8-symmetric-fp16.onnx"])
def test_preprocessing_classifier_and_head_stay_single(bundle: Bundle, file: str) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(bundle.path / file))
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    kinds |= {t.name: t.data_type for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Softmax", "Log", "ReduceSum", "Gemm"):
            assert all(kinds.get(name) != TensorProto.FLOAT16 for name in node.input)
    assert Counter(kinds.values())[TensorProto.FLOAT16] > 10


def test_two_members_in_half_precision(run: Path, tmp_path: Path) -> None:
    """The first layers and the classifier of each member are kept, not only of the first."""
    one, other = load_run(run), load_run(run)
    for parameter in other.networks[0].parameters():
        parameter.data *= 1.01
    pair = replace(one, networks=(one.networks[0], other.networks[0]))
    export_onnx(pair, 1.0, tmp_path / "fp32.onnx")
    prepared = load_prepared(tmp_path / "fp32.onnx")
    half = to_half(prepared, 1)
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "fp16.onnx")
    constants = {t.name: t.data_type for t in half.graph.initializer}
    kept = Counter(
        n.name.split("/")[1]
        for n in half.graph.node
        if n.op_type in ("Conv", "Gemm") and constants[n.input[1]] == TensorProto.FLOAT
    )
    assert kept == {"members.0": 2, "members.1": 2}
    x = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8)
    with torch.inference_mode():
        expected = ensemble_module(pair, 1.0)(torch.from_numpy(x))[0].numpy()
    session = ort.InferenceSession(tmp_path / "fp16.onnx", providers=["CPUExecutionProvider"])
    assert np.abs(session.run(["probabilities"], {"crops": x})[0] - expected).max() < 5e-3
    assert set(depths(prepared).values()) == set(depths(half).values())


def test_layers_are_given_back_until_it_holds() -> None:
    asked: list[int] = []

    def said(kept: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        asked.append(kept)
        return np.full((1, 1), kept, np.float32)

    kept, probabilities = fewest_float_layers(20, said, lambda p: bool(p[0, 0] >= 7))
    assert (kept, probabilities[0, 0], asked) == (8, 8, [0, 1, 2, 3, 4, 5, 6, 8])
    assert fewest_float_layers(3, said, lambda _: False)[0] == 3


# -- calibration


def test_ranges_are_reused(bundle: Bundle, drawn_crops: Path, tmp_path: Path) -> None:
    ranges = bundle.path / "ranges.json"
    done = export(bundle.path, tmp_path / "b", "--data", drawn_crops, "--ranges", ranges)
    assert done.returncode == 0, done.stderr
    assert "measuring ranges" not in done.stdout
    for file in FILES:
        assert (tmp_path / "b" / file).read_bytes() == (bundle.path / file).read_bytes()


def test_own_crops_calibrate(run: Path, drawn_crops: Path, tmp_path: Path) -> None:
    crops = open_crops(drawn_crops)
    write_out(crops, "fold0", tmp_path / "site")
    options = ("--data", drawn_crops, "--calibration-crops", tmp_path / "site")
    done = export(run, tmp_path / "b", *options, "--precision", "fp32,int8")
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "b").info.calibration["crops"] == 18
    (tmp_path / "few" / "M1").mkdir(parents=True)
    for name in ("one.png", "two.png"):
        save(tmp_path / "few" / "M1" / name, np.zeros((96, 96, 3), np.uint8))
    done = export(run, tmp_path / "c", *options[:3], tmp_path / "few")
    assert done.returncode == 2
    assert "at least 16 crops, not 2" in done.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("role", ["test", "confidence"])
def test_crops_of_refused_roles(run: Path, drawn_crops: Path, tmp_path: Path, role: str) -> None:
    crops = open_crops(drawn_crops)
    write_out(crops, role, tmp_path / "site")
    done = export(
        run, tmp_path / "b", "--data", drawn_crops, "--calibration-crops", tmp_path / "site"
    )
    assert done.returncode == 2
    assert "is a crop that this network is tested, fitted or validated on" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site"]


def write_out(crops: CropSet, role: str, folder: Path) -> None:
    for row in crops.select([role]):
        path = folder / row.code / Path(row.file).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(crops.data(row))


# -- the certificate


def test_the_certificate(bundle: Bundle) -> None:
    parity = bundle.info.parity
    assert parity["against"] == "the torch ensemble of 1"
    assert parity["provider"] == "ONNX Runtime, CPUExecutionProvider"
    assert parity["small"]
    assert parity["accepted"] == []
    assert set(parity["files"]) == set(FILES)
    for file, entry in parity["files"].items():
        assert entry["size_bytes"] == (bundle.path / file).stat().st_size
        assert set(entry["recall_change"]) == set(bundle.codes)
        assert entry["crops_per_s"] > 0
    assert parity["files"]["fp32.onnx"]["max_difference"] <= 1e-4
    page = (bundle.path / "PARITY.html").read_text()
    for words in ("Research use only", "Small: only 18 test crops", "not that arithmetic", *FILES):
        assert words in page
    assert "PARITY.html" in (bundle.path / "MODEL_CARD.md").read_text()


def worthless(bundle: Bundle, path: Path) -> Path:
    """Ranges that leave nothing of what the pooling and additions of the network give on."""
    ranges = load_ranges(bundle.path / "ranges.json", bundle.path / "fp32.onnx")
    bounds = {method: dict.fromkeys(found, (0.0, 1e-6)) for method, found in ranges.bounds.items()}
    save_ranges(replace(ranges, bounds=bounds), path)
    return path


def test_a_loss_ends_the_export(
    run: Path, bundle: Bundle, drawn_crops: Path, tmp_path: Path
) -> None:
    ranges = worthless(bundle, tmp_path / "r.json")
    options = ("--data", drawn_crops, "--ranges", ranges, "--precision", "fp32,int8")
    done = export(run, tmp_path / "b", *options)
    assert done.returncode == 3, done.stderr
    assert "int8.onnx: " in done.stderr
    assert "--accept-loss" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"], "nothing half-written"
    done = export(run, tmp_path / "b", *options, "--accept-loss")
    assert done.returncode == 0, done.stderr
    made = load_bundle(tmp_path / "b")
    assert made.accepted_losses
    for text in (
        done.stdout,
        *((made.path / n).read_text() for n in ("MODEL_CARD.md", "PARITY.html")),
    ):
        assert made.accepted_losses[0] in text
    doctor = subprocess.run(
        [sys.executable, "-m", "heme_edge.cli", "doctor", "--bundle", str(made.path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.accepted_losses[0] in doctor.stdout


def test_tolerances() -> None:
    """Three classes of 300, 100 and 4 crops; what each may lose."""
    codes, truth = ["A", "B", "C"], ["A"] * 300 + ["B"] * 100 + ["C"] * 4
    expected = np.eye(3, dtype=np.float32)[[codes.index(c) for c in truth]]

    def wrong(*rows: int) -> list[str]:
        said = expected.copy()
        said[list(rows)] = np.roll(said[list(rows)], 1, axis=1)
        return losses(compare(said, expected, truth, codes), TOLERANCES["int8"])

    assert wrong(0, 1, 2) == []
    assert wrong(300, 301) == []
    assert wrong(300, 301, 302) == ["class B loses 3 of 100 crops"]
    assert wrong(400, 401) == []
    assert "class C loses 3 of 4 crops" in wrong(400, 401, 402)
    assert wrong(0, 1, 2, 3) == ["class A loses 4 of 300 crops"]
    assert wrong(0, 1, 2, 300, 301)[0].startswith("98.76% of the labels are the same (99.00%")
    near = expected + np.float32(2e-4)
    compared = compare(near, expected, truth, codes)
    assert losses(compared, TOLERANCES["fp32"]) == [
        "a probability differs by 2.0e-04 (1e-04 allowed)"
    ]
    assert losses(compared, TOLERANCES["fp16"]) == []
    assert losses(compare(expected * np.nan, expected, truth, codes), TOLERANCES["fp32"])


def test_what_is_accepted_is_written() -> None:
    assert accept({"crops": 3}, [], False) == {"crops": 3, "accepted": []}
    assert accept({}, ["int8.onnx: x."], True) == {"accepted": ["int8.onnx: x."]}
    with pytest.raises(ParityError, match=r"int8\.onnx: x\.") as caught:
        accept({}, ["int8.onnx: x."], False)
    assert caught.value.exit_code == 3


def test_a_bundle_of_several_networks_is_certified_against_its_own_file(
    bundle: Bundle, drawn_crops: Path, tmp_path: Path
) -> None:
    """Their weights cannot be read back out of one file; the certificate says so."""
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    manifest["provenance"]["recipe"]["network"] = "test_resnet"
    (bundle.path / "bundle.json").rename(tmp_path / "kept.json")
    try:
        (bundle.path / "bundle.json").write_text(json.dumps(manifest))
        options = ("--data", drawn_crops, "--precision", "fp32")
        done = export(bundle.path, tmp_path / "b", *options)
    finally:
        (tmp_path / "kept.json").rename(bundle.path / "bundle.json")
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "b").info.parity["against"] == "its own fp32 file"


def test_a_fold_nobody_trained_on_does_not_calibrate(run: Path, drawn_crops: Path) -> None:
    crops = open_crops(drawn_crops)
    opened = load_run(run)
    alone = replace(opened, hold_outs=("fold0",))
    rows = _rows(alone.codes, alone.content, alone.hold_outs, crops, Options("x"))
    assert {c.role for c in rows.folds} == {"fold1", "fold2", "fold3", "fold4"}
    assert "fold0" in {c.role for c in rows.refused}


def test_a_disk_that_is_full(run: Path, drawn_crops: Path, tmp_path: Path) -> None:
    limited = f"ulimit -f 200; exec {sys.executable} -m heme_export.cli bundle {run} "
    done = subprocess.run(
        ["bash", "-c", limited + f"-o {tmp_path / 'b'} --data {drawn_crops} --precision fp32"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
