"""Real builds with TensorRT-RTX, which builds on an x86 CPU through the same Python API."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from heme_edge.backends.tensorrt.build import Progress, build_plan, in_background, read_onnx
from heme_edge.backends.tensorrt.specs import ALL_KINDS, SERVES, EngineSpec, specs_of
from heme_edge.bundle import ModelFile, load_bundle
from heme_edge.errors import BackendError, BundleError, HemeError
from tests.edge_runtime.trt_parts import left_in, start

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is for Linux on x86-64")

BUILD = """
import json, os, signal, sys, time
import tensorrt_rtx as trt
from heme_edge.backends.tensorrt import build, make
from heme_edge.backends.tensorrt.cache import EngineCache
from heme_edge.backends.tensorrt.specs import spec_of
from heme_edge.bundle import load_bundle
from tests.edge_runtime.trt_parts import MACHINE, fp32_facts

said = []
def go():
    bundle = load_bundle()
    plan = make.ensure_plan(trt, bundle, spec_of(bundle, "fp32", True), MACHINE, 512,
                            EngineCache(), said.append, lambda text: None)
    print(json.dumps(said))
    assert EngineCache().load(fp32_facts()) == plan
"""


def build(spec: EngineSpec, onnx: bytes) -> bytes:
    return build_plan(trt, onnx, spec, 512, b"", Progress()).plan


@pytest.mark.parametrize("model", load_bundle().info.models, ids=lambda m: m.file)
def test_every_file_meant_for_tensorrt_builds(model: ModelFile) -> None:
    bundle = load_bundle()
    spec = EngineSpec(model.precision, model, model.tolerance)
    if model.scheme == "u8-asymmetric":
        with pytest.raises(BackendError, match="unsigned asymmetric activations"):
            build(spec, read_onnx(bundle, spec))
        return
    assert len(build(spec, read_onnx(bundle, spec))) > 1_000_000


def test_each_file_has_a_kind() -> None:
    """No file for TensorRT is in the bundle that no engine is built from."""
    used = {s.model.file for s in specs_of(load_bundle(), ALL_KINDS, True)}
    assert used == {m.file for m in load_bundle().info.models if m.scheme != "u8-asymmetric"}
    assert set(SERVES) == set(ALL_KINDS)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_onnx_file_is_a_sentence(share: float) -> None:
    bundle = load_bundle()
    spec = specs_of(bundle, ("fp32",), True)[0]
    whole = read_onnx(bundle, spec)
    with pytest.raises(BackendError, match=r"TensorRT cannot read 'fp32\.onnx'"):
        build(spec, whole[: int(share * len(whole))])


def test_a_file_changed_after_the_bundle_was_opened(bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    (bundle_copy / "fp32.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed"):
        read_onnx(bundle, specs_of(bundle, ("fp32",), True)[0])


def test_a_flag_the_version_has_not_is_a_sentence() -> None:
    bundle = load_bundle()
    spec = replace(specs_of(bundle, ("fp32",), True)[0], flags=("FP16",))
    with pytest.raises(HemeError, match="no builder flag FP16"):
        build(spec, read_onnx(bundle, spec))


def test_a_build_tells_its_phase_and_stops_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heme_edge.backends.tensorrt.build.TICK_S", 0.02)
    bundle = load_bundle()
    spec = specs_of(bundle, ("fp32",), True)[0]
    onnx = read_onnx(bundle, spec)
    progress = Progress()
    ticks: list[tuple[float, str]] = []
    in_background(
        lambda: build_plan(trt, onnx, spec, 512, b"", progress),
        progress, lambda seconds, phase: ticks.append((seconds, phase)),
    )  # fmt: skip
    assert progress.phase
    assert ticks
    stopped = Progress()
    stopped.stop.set()
    with pytest.raises(BackendError, match="TensorRT built no fp32 engine"):
        build_plan(trt, onnx, spec, 512, b"", stopped)


def test_killed_during_a_real_build(tmp_path: Path) -> None:
    """SIGKILL from within TensorRT's own progress: no engine; the next build is whole."""
    code = (
        BUILD
        + """
class Killed(build.Progress):
    @property
    def phase(self): return ""
    @phase.setter
    def phase(self, value):
        if value: os.kill(os.getpid(), signal.SIGKILL)
make.Progress = Killed
go()
"""
    )
    process = start(code, tmp_path)
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, wrong
    assert not left_in(tmp_path)
    again = start(BUILD + "go()", tmp_path)
    said, wrong = again.communicate(timeout=120)
    assert "built in" in said, wrong
    assert {".engine", ".json"} <= left_in(tmp_path)


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C, as a terminal sends it, while the build is under way."""
    code = (
        BUILD
        + """
make.in_background = lambda work, progress, tick: build.in_background(
    lambda: (print("building", flush=True), time.sleep(2), work())[2], progress, tick)
try:
    go()
except KeyboardInterrupt:
    sys.exit(130)
"""
    )
    process = start(code, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGINT)
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == 130, wrong
    assert not left_in(tmp_path)


def test_two_processes_building_at_once(tmp_path: Path) -> None:
    """One builds, the other says that it waits, and takes what was built."""
    slow = (
        BUILD
        + """
real = make.build_plan
def slowly(*arguments):
    print("building", flush=True)
    time.sleep(2)
    return real(*arguments)
make.build_plan = slowly
go()
"""
    )
    first = start(slow, tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == "building\n"
    second = start(BUILD + "go()", tmp_path)
    told, wrong = second.communicate(timeout=120)
    assert [s.split(".")[0] for s in json.loads(told)] == [
        "another process is building; waiting for it", "built before",
    ], wrong  # fmt: skip
    built, wrong = first.communicate(timeout=120)
    assert "built in" in built, wrong
