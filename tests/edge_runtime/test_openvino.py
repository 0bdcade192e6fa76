"""What only OpenVINO can get wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from heme_edge.backends import open_backend, reference_difference, why_not
from heme_edge.bundle import load_bundle

pytestmark = pytest.mark.skipif(bool(why_not("openvino")), reason="OpenVINO is not installed")


def test_fp32_is_not_computed_in_bfloat16() -> None:
    """OpenVINO's own choice on a CPU with AMX misses this by two orders of magnitude."""
    backend = open_backend(load_bundle(), "openvino", "fp32")
    assert reference_difference(backend, load_bundle()) < 1e-5
    backend.close()


def test_nothing_is_reported_to_its_maker(tmp_path: Path) -> None:
    code = """
import sys
from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
open_backend(load_bundle(), "openvino", "fp32").close()
assert not any(m.startswith("openvino_telemetry.") for m in sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"HOME": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []


def test_signals_arrive_after_closing() -> None:
    """Two cores closed in the order they came left a freed signal stack behind on AMX CPUs."""
    code = """
import gc, signal
from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
signal.signal(signal.SIGUSR1, lambda *_: None)
opened = [open_backend(load_bundle(), "openvino", "fp32") for _ in range(2)]
for backend in opened:
    backend.close()
del opened[:], backend
gc.collect()
for _ in range(100):
    signal.raise_signal(signal.SIGUSR1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("count", [1, 40])
def test_one_thread_is_one_thread(count: int) -> None:
    backend = open_backend(load_bundle(), "openvino", "fp32", threads=1)
    crops = np.zeros((count, 96, 96, 3), np.uint8)
    backend.infer(crops)
    wall, used = time.perf_counter(), time.process_time()
    for _ in range(80 // count):
        backend.infer(crops)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    backend.close()
    assert used < 1.3 * wall


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def test_close_frees_the_model() -> None:
    sizes = []
    for _ in range(6):
        backend = open_backend(load_bundle(), "openvino", "fp32", threads=1)
        backend.infer(np.zeros((9, 96, 96, 3), np.uint8))
        backend.close()
        sizes.append(resident_mib())
    assert sizes[-1] - sizes[1] < 30  # one model is more than that
