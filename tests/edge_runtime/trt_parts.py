"""Parts that the TensorRT tests share: a machine, facts, and programs run as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from heme_edge.backends.tensorrt.cache import Machine, facts_of
from heme_edge.backends.tensorrt.driver import Gpu
from heme_edge.backends.tensorrt.specs import spec_of
from heme_edge.bundle import load_bundle

MACHINE = Machine("tensorrt_rtx", "1.0", Gpu("Orin", "8.7"))


def fp32_facts(machine: Machine = MACHINE) -> dict[str, Any]:
    return facts_of(spec_of(load_bundle(), "fp32", True), machine, 512)


def start(code: str, cache: Path) -> subprocess.Popen[str]:
    """Runs Python code in a process whose engines are kept below ``cache``."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def left_in(cache: Path) -> set[str]:
    """Suffixes of the files below ``cache``, the lock aside."""
    return {p.suffix for p in cache.rglob("*") if p.is_file() and p.name != "build.lock"}
