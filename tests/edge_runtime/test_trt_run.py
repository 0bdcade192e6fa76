"""The whole way, ``heme-export engine`` to the backend, on a fake driver and a fake TensorRT.

Device memory, streams and the context are a small libcuda.so.1 built here and used through the
real cuda-bindings; ONNX Runtime computes. What a real GPU does is not tested by this.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.bundle import DEFAULT_BUNDLE
from tests.conftest import LOSS, with_accepted

pytest.importorskip("cuda.bindings", reason="cuda-bindings is for Linux on x86-64")
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc on this machine")

FAKES = Path(__file__).parent / "fake_gpu"
Run = Callable[..., "subprocess.CompletedProcess[str]"]

MEMORY = """
import ctypes
from heme_edge.backends.tensorrt.cuda import CudaBindings
from heme_edge.backends.tensorrt.driver import find_gpu
from heme_edge.errors import BackendError
assert (find_gpu().name, find_gpu().compute_capability) == ("Fake GPU", "8.7")
cuda = CudaBindings()
with cuda.current():
    host, address = cuda.pinned(100), cuda.device_memory(100)
    host[:] = 7
    cuda.upload(address, host)
    host[:] = 0
    cuda.download(host[:50], address)
    cuda.synchronise()
    print(host.sum())
    try:
        cuda.device_memory(1 << 31)
    except BackendError as error:
        print(error.message)
cuda.close()
fake = ctypes.CDLL("libcuda.so.1")
print(fake.fake_left(), fake.fake_depth(), fake.fake_misuse())
"""

INFER = """
import ctypes, sys
import numpy as np
from heme_edge.backends import reference_difference
from heme_edge.backends.tensorrt.backend import TensorRtBackend
from heme_edge.bundle import load_bundle
from heme_edge.errors import HemeError
fake = ctypes.CDLL("libcuda.so.1")
try:
    backend = TensorRtBackend(load_bundle(), "fp32")
    crops = np.random.default_rng(0).integers(0, 256, (70, 96, 96, 3), np.uint8)
    shapes = [backend.infer(crops[:n])[0].shape[0] for n in (0, 1, 7, 70)]
    print(shapes, reference_difference(backend, load_bundle()) < 1e-5)
    backend.close()
    backend.close()
except HemeError as error:
    print(error.message, "|", error.hint)
print(fake.fake_left(), fake.fake_depth(), fake.fake_misuse())
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1",
         "-o", folder / "libcuda.so.1", FAKES / "cuda.c", "-ldl"], check=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def run(driver: Path, tmp_path: Path) -> Run:
    def of(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        paths = os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")])
        base = {
            "LD_LIBRARY_PATH": str(driver),
            "PYTHONPATH": paths,
            "XDG_CACHE_HOME": str(tmp_path),
        }
        return subprocess.run(
            [sys.executable, *arguments], env=os.environ | base | environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return of


def export_engine(run: Run, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run("-m", "heme_export.cli", "engine", "--precision", "fp32", *more, **environment)


def test_memory_comes_back_and_is_freed(run: Run) -> None:
    done = run("-c", MEMORY)
    assert done.stdout.splitlines() == ["350", "CUDA answers CUDA_ERROR_OUT_OF_MEMORY.", "0 0 0"]


def test_a_driver_without_a_gpu_is_a_sentence(run: Run) -> None:
    done = export_engine(run, FAKE_NO_GPU="1")
    assert done.returncode == 2
    assert "finds no usable GPU (cuInit answers 100)" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_from_the_command_to_the_backend(run: Run) -> None:
    before = run("-c", INFER)
    assert "There is no fp32 engine" in before.stdout
    assert "heme-export engine" in before.stdout
    assert before.stdout.endswith("\n0 0 0\n")
    made = export_engine(run, str(DEFAULT_BUNDLE))
    assert made.returncode == 0, made.stderr
    assert "fp32 (1 of 1): built in" in made.stderr
    assert "fp32  passes: mean |Δp| 0.0000" in made.stdout
    assert "built before" in export_engine(run).stderr
    after = run("-c", INFER)
    assert after.stdout.splitlines() == ["[0, 1, 7, 70] True", "0 0 0"], after.stderr
    other = run("-c", INFER, FAKE_TRT_VERSION="10.4.0")
    assert "There is no fp32 engine of 'heme-edge default' for TensorRT 10.4.0" in other.stdout


def test_accepted_losses_are_told(run: Run, bundle_copy: Path) -> None:
    made = export_engine(run, str(with_accepted(bundle_copy, [LOSS])))
    assert made.stdout.endswith(f"{RESEARCH_USE_ONLY}\nAccepted at export: {LOSS}\n"), made.stderr


def test_a_replaced_plan_is_rebuilt_not_loaded(run: Run, tmp_path: Path) -> None:
    """The fake TensorRT, like the real one, ends the process when it is given rubbish."""
    export_engine(run)
    plan = next(tmp_path.rglob("*.engine"))
    plan.write_bytes(b"rubbish")
    refused = run("-c", INFER)
    assert refused.returncode == 0
    assert "There is no fp32 engine" in refused.stdout
    assert "built in" in export_engine(run).stderr
    assert "True" in run("-c", INFER).stdout


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("FAKE_NULL_ENGINE", "TensorRT refuses the engine."),
        ("FAKE_NO_CONTEXT", "There is no memory for the engine."),
        ("FAKE_NO_EXECUTE", "The engine cannot run 1 crops."),
    ],
)
def test_a_null_answer_is_a_sentence_and_frees_everything(run: Run, fault: str, says: str) -> None:
    export_engine(run)
    done = run("-c", INFER, **{fault: "1"})
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    if fault != "FAKE_NO_EXECUTE":
        assert done.stdout.endswith("\n0 0 0\n")


def test_no_plan_is_a_sentence(run: Run) -> None:
    done = export_engine(run, FAKE_NULL_PLAN="1")
    assert done.returncode == 2
    assert "TensorRT built no fp32 engine from 'fp32.onnx': it gives no reason." in done.stderr
    assert "No engine could be built." in done.stderr


AUTO = """
from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
open_backend(load_bundle(), precision="fp32", say=print).close()
"""


def test_auto_measures_anew_once_an_engine_was_built(run: Run, tmp_path: Path) -> None:
    """Until then TensorRT is tried and left out, since nothing was built for this GPU."""
    measured = [bool(run("-c", AUTO).stdout) for _ in range(2)]
    assert measured == [True, False]
    assert export_engine(run).returncode == 0
    assert "tensorrt fp32" in run("-c", AUTO).stdout
    assert not run("-c", AUTO).stdout
    rates = [json.loads(p.read_text())["crops_per_s"] for p in tmp_path.rglob("choices/*.json")]
    assert sorted("tensorrt fp32" in r for r in rates) == [False, True]
