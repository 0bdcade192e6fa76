"""``auto``: measured on first use, remembered, and never used without its reference check."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heme_edge.backends import open_backend, why_not
from heme_edge.bundle import load_bundle
from heme_edge.errors import BackendError, BundleError, MissingExtraError
from tests.conftest import Run, draw_cell, save, with_strict_int8


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "heme-edge" / "choices"


def open_auto(**asked: str) -> tuple[str, bool]:
    """Name of what ``auto`` opened, and whether it had to measure."""
    said: list[str] = []
    backend = open_backend(load_bundle(), say=said.append, **asked)  # type: ignore[arg-type]  # mypy takes str for threads too
    backend.close()
    assert len(said) <= 1
    return backend.name, bool(said)


def the_choice(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def remember(folder: Path, fastest: str) -> None:
    """As if that one had been the fastest."""
    open_auto()
    content = json.loads(the_choice(folder).read_text())
    the_choice(folder).write_text(json.dumps(content | {"fastest": fastest}))


def test_the_fastest_is_taken_and_remembered(fresh_cache: Path) -> None:
    name, measured = open_auto()
    assert measured
    rates = json.loads(the_choice(fresh_cache).read_text())["crops_per_s"]
    assert name == max(rates, key=lambda n: rates[n])
    assert {"onnxruntime fp32", "onnxruntime int8"} <= set(rates)
    assert open_auto() == (name, False)


def test_the_remembered_one_is_opened(fresh_cache: Path) -> None:
    remember(fresh_cache, "onnxruntime fp32")
    assert open_auto() == ("onnxruntime fp32", False)


def test_a_precision_or_backend_asked_for_is_kept(fresh_cache: Path) -> None:
    remember(fresh_cache, "onnxruntime int8")
    assert open_auto(precision="fp32")[0].endswith(" fp32")
    assert open_auto(backend="onnxruntime")[0].startswith("onnxruntime ")
    with pytest.raises(BundleError, match="holds no fp4 model"):
        open_auto(precision="fp4")


@pytest.mark.parametrize("content", [b"", b"\xff{", b"[]", b'{"facts": {}, "fastest": 3}'])
def test_a_damaged_memory_is_measured_again(fresh_cache: Path, content: bytes) -> None:
    open_auto(backend="onnxruntime")
    path = the_choice(fresh_cache)
    whole = json.loads(path.read_text())
    path.write_bytes(content)
    assert open_auto(backend="onnxruntime")[1]
    assert json.loads(path.read_text())["facts"] == whole["facts"]


def test_a_memory_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [open_auto(backend="onnxruntime")[1] for _ in range(2)] == [True, True]


def test_a_choice_that_no_longer_passes_is_not_used(fresh_cache: Path) -> None:
    remember(fresh_cache, "onnxruntime int8")
    said: list[str] = []
    backend = open_backend(with_strict_int8(load_bundle()), say=said.append)
    backend.close()
    assert said
    assert backend.precision != "int8"
    assert json.loads(the_choice(fresh_cache).read_text())["fastest"] == backend.name


def test_nothing_works() -> None:
    with pytest.raises(BackendError, match=r"No model of the bundle works here: .* int8 misses"):
        open_backend(with_strict_int8(load_bundle()), precision="int8")


needs_openvino = pytest.mark.skipif(bool(why_not("openvino")), reason="OpenVINO is not installed")


@needs_openvino
def test_a_package_that_vanished(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(fresh_cache, "openvino fp32")
    assert open_auto() == ("openvino fp32", False)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as Python has it for what is not there
    assert "pip install 'heme-edge[openvino]'" in why_not("openvino")
    assert open_auto()[0].startswith("onnxruntime ")
    with pytest.raises(MissingExtraError, match="openvino is not installed"):
        open_backend(load_bundle(), "openvino", "fp32")
    with pytest.raises(BackendError, match="openvino is not installed"):
        open_backend(load_bundle(), "openvino")


@needs_openvino
def test_a_package_that_broke(fresh_cache: Path, tmp_path: Path, heme_edge: Run) -> None:
    """Still found, still of the same version, but it cannot be loaded any more."""
    remember(fresh_cache, "openvino int8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "openvino.py").write_text("raise ImportError('libtbb.so.12: no')")
    save(tmp_path / "in" / "a.png", draw_cell())
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    command = ("classify", tmp_path / "in", "--crops", "--out", tmp_path / "out")
    done = heme_edge(*command, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["backend"] != "openvino int8"
    done = heme_edge(*command, "--backend", "openvino", "--precision", "fp32", env=environment)
    assert done.returncode == 2
    assert "The package openvino cannot be loaded: libtbb.so.12: no" in done.stderr
    assert "Traceback" not in done.stderr
    assert "openvino    int8  not used: The package" in heme_edge("doctor", env=environment).stdout


def test_two_at_once(fresh_cache: Path) -> None:
    code = """
from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
open_backend(load_bundle()).close()
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert json.loads(the_choice(fresh_cache).read_text())["fastest"]
    assert not open_auto()[1]
