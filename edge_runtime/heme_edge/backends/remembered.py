"""Which backend x precision was the fastest on this machine, kept from one start to the next."""

from __future__ import annotations

import json
from typing import Any

from heme_edge.backends import why_not
from heme_edge.backends.tensorrt.cache import EngineCache, cache_folder, fingerprint_of
from heme_edge.bundle import Bundle
from heme_edge.errors import HemeError
from heme_edge.machine import clocks, processor, usable_processors, versions

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx", "numpy")


class Choices:
    """The remembered choice for a bundle, among some candidates, on this machine as it is now.

    It lies in ``$XDG_CACHE_HOME/heme-edge/choices/<fingerprint>.json``. A file that is missing,
    damaged or of other facts is no choice; one that cannot be written is not an error.

    Args:
        bundle: what is chosen for.
        candidates: what was chosen from.
        threads: as asked for.
    """

    def __init__(self, bundle: Bundle, candidates: list[str], threads: int) -> None:
        self._facts: dict[str, Any] = {
            "bundle": bundle.digest,
            "candidates": candidates,
            "threads": threads,
            "processor": processor(),
            "usable_processors": usable_processors(),
            "clocks": clocks(),
            "gpu": _gpu(),
            "versions": versions(PACKAGES),
        }
        self._cache = EngineCache(cache_folder().with_name("choices"))
        self.path = self._cache.folder / f"{fingerprint_of(self._facts)}.json"

    def load(self) -> str:
        """The candidate remembered; empty where there is none."""
        try:
            content = json.loads(self.path.read_bytes())
            return str(content["fastest"]) if content["facts"] == self._facts else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def store(self, fastest: str, crops_per_s: dict[str, float]) -> None:
        """Remembers a choice and what it was made by."""
        content = {"facts": self._facts, "fastest": fastest, "crops_per_s": crops_per_s}
        try:
            self._cache.write(self.path, json.dumps(content, indent=1).encode())
        except HemeError:
            return


def _gpu() -> list[str]:
    """The GPU, and when engines were last chosen for it; nothing where TensorRT cannot run."""
    if why_not("tensorrt"):
        return []
    from heme_edge.backends.tensorrt.driver import find_gpu

    gpu = find_gpu()
    engines = sorted(cache_folder().glob("*.choice"))
    return [
        gpu.name,
        gpu.compute_capability,
        *(f"{p.name} {p.stat().st_mtime_ns}" for p in engines),
    ]
