"""``heme-edge bench``: real processes, measured, interrupted and killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heme_edge.backends import BACKENDS, check_all
from heme_edge.bundle import load_bundle
from tests.conftest import LOSS, Run, draw_cell, save, with_accepted

QUICK = ("--rounds", "1", "--seconds", "0.05")


@pytest.fixture
def small_bundle(bundle_copy: Path) -> Path:
    """fp32 and INT8 only, with an accepted loss."""
    content = json.loads((bundle_copy / "bundle.json").read_text())
    content["models"] = [m for m in content["models"] if m["precision"] in ("fp32", "int8")]
    (bundle_copy / "bundle.json").write_text(json.dumps(content))
    return with_accepted(bundle_copy, [LOSS])


def change_models(bundle: Path, **changes: Any) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    for model in content["models"]:
        model.update(changes.get(model["precision"], {}))
    (bundle / "bundle.json").write_text(json.dumps(content))


def workers(bundle: Path, word: str = "") -> list[int]:
    """Process ids of the workers on a bundle."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_text()
            if "heme_edge.bench.worker" in line and str(bundle) in line and word in line:
                found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def running(bundle: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A benchmark that has begun its first round."""
    command = [sys.executable, "-m", "heme_edge.cli", "bench", str(bundle), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("round 1"):
                break
        yield process
        process.kill()


def test_every_backend_precision_and_batch(
    small_bundle: Path, tmp_path: Path, heme_edge: Run
) -> None:
    report = tmp_path / "bench.json"
    options = ("--batches", "1,9", "--rounds", "2", "--seconds", "0.05", "--threads", "1")
    done = heme_edge("bench", small_bundle, *options, "--json", report)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    measured = [(r["backend"], r["precision"], r["batch"]) for r in found["rows"] if "batch" in r]
    checked = [c for c in check_all(load_bundle(small_bundle)) if c.backend != "tensorrt"]
    works = [(c.backend, c.precision) for c in checked if c.works]
    assert not [c for c in checked if not c.works and c.precision]  # where a package lacks: empty
    assert measured == [(b, p, n) for b, p in works for n in (1, 9)]
    for row in found["rows"]:
        if "not_run" in row:
            assert row["not_run"]
            continue
        assert row["crops_per_s"] > 0
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["peak_mib"] > 40
        assert row["label_agreement"] > 0.9
        assert row["max_difference"] < (0.001 if row["precision"] == "fp32" else 0.5)
    assert found["rows"][0]["max_difference"] == 0
    assert {r["backend"] for r in found["rows"]} == set(BACKENDS)
    assert found["crops"] >= 48
    assert found["bundle_sha256"] == load_bundle(small_bundle).digest
    assert found["accepted_losses"] == [LOSS]
    accepted = f"Accepted at export: {LOSS}"
    for said in ("onnxruntime", "crops/s", "Research use only", accepted):
        assert said in done.stdout
    assert found["versions"]["onnxruntime"] in done.stdout


def test_what_misses_its_reference_is_a_row(
    small_bundle: Path, tmp_path: Path, heme_edge: Run
) -> None:
    change_models(small_bundle, int8={"tolerance": 1e-9})
    save(tmp_path / "cells" / "a.png", draw_cell())
    save(tmp_path / "cells" / "b.png", draw_cell(128))
    options = (*QUICK, "--batches", "2", "--crops", tmp_path / "cells")
    done = heme_edge("bench", small_bundle, *options, "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime int8: not run: onnxruntime int8 misses its reference" in done.stdout
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["crops"] == 2
    assert found["crops_from"] == str(tmp_path / "cells")


def test_a_worker_that_dies_is_a_row(small_bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    options = ("--rounds", "2", "--seconds", "0.4", "--batches", "1", "--json", str(report))
    with running(small_bundle, *options) as process:
        (pid,) = workers(small_bundle, '"onnxruntime", "precision": "int8"')
        os.kill(pid, signal.SIGKILL)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    rows = json.loads(report.read_text())["rows"]
    dead = next(r for r in rows if (r["backend"], r["precision"]) == ("onnxruntime", "int8"))
    assert "Its process ended by SIGKILL" in dead["not_run"]
    assert any("crops_per_s" in r for r in rows)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_command(small_bundle: Path, sent: signal.Signals) -> None:
    with running(small_bundle, "--seconds", "60") as process:
        assert workers(small_bundle)
        process.send_signal(sent)
        _, error = process.communicate(timeout=30)
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert error.strip().splitlines()[-1] == "Interrupted."
        assert not workers(small_bundle)
        return
    for pid in workers(small_bundle, '"onnxruntime", "precision": "fp32"'):
        os.kill(pid, signal.SIGKILL)  # the one in its round of a minute, which it would finish
    deadline = time.monotonic() + 20
    while workers(small_bundle) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not workers(small_bundle)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--batches", "1,x"), "not a list of different sizes"),
        (("--batches", "0"), "not a list of different sizes"),
        (("--crops", "missing"), "'missing' does not exist"),
        (("--crops", "."), "'bad.png' is not a picture this program can read."),
    ],
)
def test_wrong_use(tmp_path: Path, heme_edge: Run, options: tuple[str, str], says: str) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    done = heme_edge("bench", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
