"""Real builds with TensorRT-RTX, which builds on an x86 CPU through the same Python API."""

import importlib.util
import json
import signal
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from heme_edge.backends.tensorrt.build import read_onnx
from heme_edge.backends.tensorrt.specs import ALL_KINDS, SERVES, EngineSpec, specs_of
from heme_edge.bundle import ModelFile, load_bundle
from heme_edge.errors import BackendError, BundleError
from tests.edge_runtime.trt_parts import left_in, start

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is for Linux on x86-64"
)

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


ONE = """
import sys
import tensorrt_rtx as trt
from heme_edge.backends.tensorrt.build import Progress, build_plan
from heme_edge.backends.tensorrt.specs import EngineSpec
from heme_edge.bundle import ModelFile
from heme_edge.errors import HemeError
model = ModelFile(*%r)
onnx = open(%r, "rb").read()
progress = Progress()
%s
try:
    built = build_plan(trt, onnx, EngineSpec(%r, model, 0.1, %r), 512, b"", progress)
    print(len(built.plan))
except HemeError as error:
    print(error.message)
"""


def build(spec: EngineSpec, onnx: bytes, folder: Path, before: str = "") -> str:
    """Bytes of the plan, or the sentence; in a process that a crash of TensorRT would end alone."""
    path = folder / "model.onnx"
    path.write_bytes(onnx)
    code = ONE % (astuple(spec.model), str(path), before, spec.kind, spec.flags)
    process = start(code, folder)
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    return said.strip()


@pytest.mark.parametrize("model", load_bundle().info.models, ids=lambda m: m.file)
def test_every_file_meant_for_tensorrt_builds(model: ModelFile, tmp_path: Path) -> None:
    bundle = load_bundle()
    spec = EngineSpec(model.precision, model, model.tolerance)
    if model.scheme == "u8-asymmetric":
        with pytest.raises(BackendError, match="unsigned asymmetric activations"):
            read_onnx(bundle, spec)
        said = build(spec, (bundle.path / model.file).read_bytes(), tmp_path)
        assert "unsigned asymmetric activations" in said
        return
    assert int(build(spec, read_onnx(bundle, spec), tmp_path)) > 1_000_000


def test_each_file_has_a_kind() -> None:
    """No file for TensorRT is in the bundle that no engine is built from."""
    used = {s.model.file for s in specs_of(load_bundle(), ALL_KINDS, True)}
    assert used == {m.file for m in load_bundle().info.models if m.scheme != "u8-asymmetric"}
    assert set(SERVES) == set(ALL_KINDS)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_onnx_file_is_a_sentence(share: float, tmp_path: Path) -> None:
    bundle = load_bundle()
    spec = specs_of(bundle, ("fp32",), True)[0]
    whole = read_onnx(bundle, spec)
    said = build(spec, whole[: int(share * len(whole))], tmp_path)
    assert said.startswith("TensorRT cannot read 'fp32.onnx'")


def test_a_file_changed_after_the_bundle_was_opened(bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    (bundle_copy / "fp32.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match="was changed"):
        read_onnx(bundle, specs_of(bundle, ("fp32",), True)[0])


def test_a_flag_the_version_has_not_is_a_sentence(tmp_path: Path) -> None:
    bundle = load_bundle()
    spec = replace(specs_of(bundle, ("fp32",), True)[0], flags=("FP16",))
    assert "no builder flag FP16" in build(spec, read_onnx(bundle, spec), tmp_path)


def test_a_build_tells_its_phase_and_stops_when_told(tmp_path: Path) -> None:
    bundle = load_bundle()
    spec = specs_of(bundle, ("fp32",), True)[0]
    onnx = read_onnx(bundle, spec)
    told = """
from heme_edge.backends.tensorrt import build
build.TICK_S, ticks = 0.02, []
real = build_plan
def build_plan(*arguments):
    return build.in_background(lambda: real(*arguments), progress,
                               lambda seconds, phase: ticks.append(phase))
import atexit
atexit.register(lambda: print(bool(progress.phase), any(ticks)))
"""
    assert build(spec, onnx, tmp_path, told).splitlines()[1:] == ["True True"]
    stopped = build(spec, onnx, tmp_path, "progress.stop.set()")
    assert stopped.startswith("TensorRT built no fp32 engine")


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
