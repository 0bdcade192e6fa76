"""The real Python bindings of every TensorRT we span have what our code touches.

The bindings import against small libraries, made here, that hold their undefined symbols. Each
import is a process of its own, since a stub can end it.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.edge_runtime.trt_attributes import touched

WHEELS = Path(__file__).parents[2] / ".cache" / "bindings"
STRONG = {"8.6.1": False, "10.3.0": True, "10.16.1.11": True, "11.4.0.106": True}
"""Versions (JetPack 6 is 10.3, JetPack 7.2 is 10.16), and whether networks are strongly typed."""
FLAGS = {"8.6.1": True, "10.3.0": True, "10.16.1.11": True, "11.4.0.106": False}
"""Whether the version still has the FP16 and INT8 builder flags."""

ASK = """
import functools, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
from heme_edge.backends.tensorrt import build, versions
from heme_edge.errors import BackendError

def has(name):
    try:
        functools.reduce(getattr, name.split("."), trt)
    except AttributeError:
        return False
    return True

def flags():
    try:
        return len(versions.builder_flags(trt, ("FP16", "INT8")))
    except BackendError:
        return 0

logger = versions.fresh_logger(trt)
logger.log(trt.ILogger.ERROR, "text")
assert versions.last_message(logger) == "text"
assert versions.fresh_logger(trt) is logger and not versions.last_message(logger)
if hasattr(trt, "IProgressMonitor"):
    build._monitor(trt, build.Progress()).phase_start("phase", None, 1)
print(json.dumps({
    "missing": [n for n in json.loads(sys.argv[2]) if not has(n)],
    "strong": versions.strongly_typed(trt),
    "network": versions.network_flags(trt),
    "flags": flags(),
    "keeps_timings": versions.keeps_timings(trt),
    "version": trt.__version__,
}))
"""

Answer = dict[str, Any]


def wheel_of(version: str) -> Path:
    """The wheel that ``make test`` fetched; skips where it has none, but never in CI."""
    found = sorted(WHEELS.glob(f"*-{version}-*.whl"))
    if found and shutil.which("gcc") and platform.machine() == "x86_64":
        return found[0]
    reason = f"no bindings of TensorRT {version} or no gcc here: run `make test` on Python 3.11"
    if os.environ.get("CI") and (sys.version_info[:2], platform.machine()) == ((3, 11), "x86_64"):
        pytest.fail(reason)
    pytest.skip(reason)


def make_stubs(bindings: Path, folder: Path) -> None:
    """Libraries of the names that the bindings need, with a function for each symbol they lack."""
    dynamic = subprocess.run(["readelf", "-d", bindings], capture_output=True, text=True).stdout
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", bindings], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in symbols.splitlines() if " U " in line]
    ours = [n for n in names if "@" not in n and not n.startswith(("Py", "_Py", "dl"))]
    source = folder / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in ours))
    (folder / "empty.c").write_text("")
    for at, library in enumerate(re.findall(r"\[(libnv[^]]+)]", dynamic)):
        code = source if at == 0 else folder / "empty.c"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library}", "-o", folder / library,
             code], check=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answer]:
    answers: dict[str, Answer] = {}

    def of(version: str) -> Answer:
        if version not in answers:
            folder = tmp_path_factory.mktemp(f"trt{version}")
            with zipfile.ZipFile(wheel_of(version)) as wheel:
                wheel.extractall(folder)
            make_stubs(next(folder.rglob("tensorrt.so")), folder)
            done = subprocess.run(
                [sys.executable, "-c", ASK, folder, json.dumps(sorted(touched().used))],
                env=os.environ | {"LD_LIBRARY_PATH": str(folder)}, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            answers[version] = json.loads(done.stdout)
        return answers[version]

    return of


@pytest.mark.parametrize("version", STRONG)
def test_everything_touched_is_there(version: str, ask: Callable[[str], Answer]) -> None:
    answer = ask(version)
    assert answer["version"] == version
    assert set(answer["missing"]) <= guarded(), "used without hasattr"


@pytest.mark.parametrize("version", STRONG)
def test_features_are_detected(version: str, ask: Callable[[str], Answer]) -> None:
    answer = ask(version)
    assert answer["strong"] is STRONG[version]
    assert answer["flags"] == (2 if FLAGS[version] else 0)
    assert answer["network"] != 0
    assert answer["keeps_timings"]


def test_what_is_asked_for_is_somewhere(ask: Callable[[str], Answer]) -> None:
    """A guarded name that no version has would be a misspelling that never fails."""
    assert not set.intersection(*(set(ask(version)["missing"]) for version in STRONG))


def guarded() -> set[str]:
    """Names asked for by ``hasattr``, and what lies below them."""
    found = touched()
    return {n for n in found.used if any(f"{n}.".startswith(f"{p}.") for p in found.probed)}


def test_the_walk_sees_calls_chains_and_guards() -> None:
    found = touched()
    assert {
        "Builder.build_serialized_network",
        "IBuilderConfig.set_memory_pool_limit",
        "MemoryPoolType.WORKSPACE",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "Runtime.deserialize_cuda_engine",
        "IProgressMonitor.step_complete",
    } <= found.used
    assert "BuilderFlag.FP16" in found.probed
    assert "MemoryPoolType.WORKSPACE" not in guarded()
