"""The engine cache, the choice, and every way an engine file can be wrong. No GPU needed."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from heme_edge.backends.tensorrt.backend import TensorRtBackend, find_plan, why_not
from heme_edge.backends.tensorrt.cache import Chosen, EngineCache, fingerprint_of
from heme_edge.backends.tensorrt.driver import Gpu
from heme_edge.backends.tensorrt.make import Report, _remember, crops_per_second
from heme_edge.backends.tensorrt.specs import EngineSpec, refuse_unfit, spec_of, specs_of
from heme_edge.bundle import Bundle, BundleError, ModelFile, load_bundle
from heme_edge.errors import BackendError
from tests.edge_runtime.trt_parts import MACHINE, fp32_facts, left_in, start

PLAN = b"a plan"
STORE = """
from heme_edge.backends.tensorrt.cache import EngineCache
from tests.edge_runtime.trt_parts import fp32_facts
"""


def chosen(kind: str, speed: float) -> Chosen:
    return Chosen(kind, 512, 0.0, {"1": 1.0, "16": speed, "64": 1.0})


def every_file(bundle: Bundle) -> Bundle:
    """The bundle as if it held every file an exporter may write (only what it lists is used)."""
    kinds = [
        ("fp32", "float"), ("fp16", "float"), ("int8", "u8-asymmetric"),
        ("int8", "s8-symmetric"), ("int8", "s8-symmetric-fp16"),
    ]  # fmt: skip
    models = tuple(ModelFile(f"{p}-{s}.onnx", p, s, 17, 0.01, f"{p}{s}") for p, s in kinds)
    return replace(bundle, info=replace(bundle.info, models=models))


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_stored_and_loaded(cache: EngineCache) -> None:
    cache.store(fp32_facts(), PLAN)
    assert cache.load(fp32_facts()) == PLAN
    assert left_in(cache.folder) == {".engine", ".json"}


@pytest.mark.parametrize(
    "other",
    [
        replace(MACHINE, version="1.1"),
        replace(MACHINE, library="tensorrt"),
        replace(MACHINE, gpu=Gpu("Orin", "8.6")),
        replace(MACHINE, gpu=Gpu("Thor", "8.7")),
    ],
)
def test_an_engine_of_another_fingerprint_is_never_loaded(
    cache: EngineCache, other: object
) -> None:
    """Neither under its own name nor when somebody copies it to ours."""
    foreign = fp32_facts(other)  # type: ignore[arg-type]  # parametrize knows no types
    cache.store(foreign, PLAN)
    assert cache.load(fp32_facts()) is None
    for suffix in (".engine", ".json"):
        theirs = cache.plan_path(foreign).with_suffix(suffix)
        theirs.rename(cache.plan_path(fp32_facts()).with_suffix(suffix))
    assert cache.load(fp32_facts()) is None


@pytest.mark.parametrize("content", [b"", b"rubbish", PLAN[:-1], PLAN + b"\0"])
def test_a_changed_plan_is_never_loaded(cache: EngineCache, content: bytes) -> None:
    cache.store(fp32_facts(), PLAN)
    cache.plan_path(fp32_facts()).write_bytes(content)
    assert cache.load(fp32_facts()) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"facts": {}}'])
def test_a_damaged_sidecar_is_no_engine(cache: EngineCache, content: str) -> None:
    cache.store(fp32_facts(), PLAN)
    cache.plan_path(fp32_facts()).with_suffix(".json").write_text(content)
    assert cache.load(fp32_facts()) is None


def test_every_fact_is_in_the_fingerprint() -> None:
    facts = fp32_facts()
    changed = {key: json.loads(json.dumps(facts)) | {key: "other"} for key in facts}
    prints = {fingerprint_of(facts), *(fingerprint_of(f) for f in changed.values())}
    assert len(prints) == len(facts) + 1


def test_timing_is_kept_whole_or_not_used(cache: EngineCache) -> None:
    assert cache.timing(MACHINE) == b""
    cache.store_timing(MACHINE, b"measured")
    assert cache.timing(MACHINE) == b"measured"
    path = next(cache.folder.glob("*.timing"))
    path.write_bytes(path.read_bytes()[:-1])
    assert cache.timing(MACHINE) == b""


def test_disk_full_leaves_nothing(tmp_path: Path) -> None:
    """A real EFBIG: the process may not write files of more than 64 KiB."""
    code = (
        STORE
        + """
import resource
from heme_edge.errors import BackendError
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    EngineCache().store(fp32_facts(), bytes(1 << 20))
except BackendError as error:
    print(error.message)
"""
    )
    said, wrong = start(code, tmp_path).communicate(timeout=60)
    assert "Nothing can be written to" in said, wrong
    assert "File too large" in said
    assert left_in(tmp_path) == set()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="Nothing can be written to"):
        EngineCache(tmp_path / "file" / "engines").store(fp32_facts(), PLAN)


@pytest.mark.parametrize("at", [1, 2], ids=["within the plan", "within the sidecar"])
def test_killed_while_writing(tmp_path: Path, at: int) -> None:
    """A real SIGKILL between writing and renaming: no engine is there, and the rest is swept."""
    code = (
        STORE
        + f"""
import os, signal
real, calls = os.fsync, []
def fsync(number):
    calls.append(real(number))
    if len(calls) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
EngineCache().store(fp32_facts(), b"a plan")
"""
    )
    process = start(code, tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    cache = EngineCache(tmp_path / "heme-edge" / "engines")
    assert cache.load(fp32_facts()) is None
    with cache.lock(lambda: pytest.fail("the lock outlived its process")):
        cache.sweep()
    assert ".part" not in left_in(tmp_path)


def test_the_fastest_that_passed_is_remembered_and_found(cache: EngineCache) -> None:
    bundle = every_file(load_bundle())
    reports = [
        Report(chosen("fp16", 300.0), 0.01, True),
        Report(chosen("int8", 200.0), 0.01, True),
        Report(chosen("mixed", 400.0), 0.01, True),
    ]
    _remember(bundle, MACHINE, cache, reports)
    assert [c.kind for c in cache.chosen(bundle.digest, MACHINE)] == ["mixed", "fp16", "int8"]
    for kind in ("int8", "mixed"):
        spec = spec_of(bundle, kind, True)
        cache.store(fp32_facts() | {"kind": kind, "onnx_sha256": spec.model.sha256}, kind.encode())
    assert find_plan(bundle, "int8", MACHINE, True, cache) == b"mixed"
    with pytest.raises(BackendError, match=r"no fp16 engine of .* on Orin"):
        find_plan(bundle, "fp16", MACHINE, True, cache)
    other = replace(MACHINE, version="2.0")
    with pytest.raises(BackendError, match=r"no int8 engine .* for TensorRT 2\.0") as caught:
        find_plan(bundle, "int8", other, True, cache)
    assert caught.value.hint.startswith("heme-export engine ")


def test_an_engine_that_fails_its_reference_is_not_chosen(cache: EngineCache) -> None:
    bundle = every_file(load_bundle())
    _remember(bundle, MACHINE, cache, [Report(chosen("fp16", 9.0), 0.01, True)])
    failed = [Report(chosen("fp16", 9.0), 0.01, False)]
    with pytest.raises(BackendError, match="No engine passes"):
        _remember(bundle, MACHINE, cache, failed)
    assert cache.chosen(bundle.digest, MACHINE) == []
    with pytest.raises(BackendError, match="No engine could be built"):
        _remember(bundle, MACHINE, cache, [])


def test_files_and_flags_of_each_kind() -> None:
    bundle = every_file(load_bundle())

    def table(strongly: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
        specs: list[EngineSpec] = specs_of(bundle, ("fp32", "fp16", "int8", "mixed"), strongly)
        return {s.kind: (f"{s.model.precision}/{s.model.scheme}", s.flags) for s in specs}

    assert table(strongly=True) == {
        "fp32": ("fp32/float", ()),
        "fp16": ("fp16/float", ()),
        "int8": ("int8/s8-symmetric", ()),
        "mixed": ("int8/s8-symmetric-fp16", ()),
    }
    assert table(strongly=False) == {
        "fp32": ("fp32/float", ()),
        "fp16": ("fp32/float", ("FP16",)),
        "int8": ("int8/s8-symmetric", ("INT8",)),
        "mixed": ("int8/s8-symmetric", ("INT8", "FP16")),
    }
    with pytest.raises(BackendError, match="no engine 'fp4'"):
        specs_of(bundle, ("fp4",), True)
    lacking = replace(bundle, info=replace(bundle.info, models=bundle.info.models[:1]))
    with pytest.raises(BundleError, match="holds no int8 model"):
        specs_of(lacking, ("int8",), True)


def test_an_unsigned_file_is_refused() -> None:
    for model in load_bundle().info.models:
        if model.scheme == "u8-asymmetric":
            with pytest.raises(BackendError, match="unsigned asymmetric activations"):
                refuse_unfit(model)


def test_speed_counts_crops() -> None:
    seen: list[int] = []
    assert crops_per_second(lambda crops: seen.append(len(crops)), 4, 0.01) > 0
    assert set(seen) == {4}


needs_no_gpu = pytest.mark.skipif(
    not why_not(), reason="this machine has a GPU and TensorRT: nothing is missing to be told of"
)


@needs_no_gpu
def test_without_a_gpu_the_command_says_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "heme_export.cli", "engine"],
        capture_output=True, text=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert done.stderr.startswith("Error: ")


@needs_no_gpu
def test_rubbish_without_a_gpu_does_not_end_the_process(tmp_path: Path) -> None:
    """Handed to TensorRT it would; the driver is asked first, and the plan is verified."""
    code = (
        STORE
        + """
from heme_edge.backends.tensorrt.backend import TensorRtBackend
from heme_edge.bundle import load_bundle
from heme_edge.errors import HemeError
cache = EngineCache()
cache.store(fp32_facts(), b"rubbish")
try:
    TensorRtBackend(load_bundle(), "fp32")
except HemeError as error:
    print("said:", error.message)
"""
    )
    process = start(code, tmp_path)
    said, wrong = process.communicate(timeout=60)
    assert process.returncode == 0, wrong
    assert said.startswith("said: ")


@needs_no_gpu
def test_the_backend_says_why_not() -> None:
    with pytest.raises(Exception, match=r"\w") as caught:
        TensorRtBackend(load_bundle(), "fp32")
    assert str(caught.value) == why_not()


def test_the_command_imports_neither_torch_nor_onnx() -> None:
    code = """
import sys
from click.testing import CliRunner
from heme_export.cli import main
CliRunner().invoke(main, ["engine"])
import heme_edge.backends.tensorrt.make
print([m for m in ("torch", "onnx", "timm", "heme_train", "heme_export.make") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@needs_no_gpu
def test_a_missing_driver_is_told_before_missing_packages() -> None:
    """No package would help a machine without a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert why_not() == "This machine has no NVIDIA driver (libcuda.so.1 cannot be loaded)."
