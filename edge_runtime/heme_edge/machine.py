"""What this machine is, as far as speed depends on it: processors, clocks, packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from heme_edge import __version__

CPUINFO = Path("/proc/cpuinfo")
_TELLING = ("model name", "flags", "Features", "CPU implementer", "CPU part")
"""What ``/proc/cpuinfo`` says of a processor's kind on x86 and on ARM."""
_CLOCKS = (
    "devices/system/cpu/cpufreq/policy*/scaling_max_freq",
    "devices/system/cpu/cpufreq/policy*/scaling_governor",
    "class/devfreq/*/max_freq",
)
"""Limits of CPU and GPU clocks below ``/sys``; a Jetson's power mode sets them."""


def processor() -> list[str]:
    """The processors' model and instruction sets, each different line of ``/proc/cpuinfo`` once."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return [platform.machine()]
    told = [" ".join(line.split()) for line in lines if line.startswith(_TELLING)]
    return list(dict.fromkeys(told)) or [platform.machine()]


def processor_name() -> str:
    """The processor's name for people, such as ``AMD EPYC 9B45``."""
    for line in processor():
        key, _, value = line.partition(" : ")
        if key == "model name":
            return value
    return platform.machine()


def usable_processors() -> int:
    """On how many processors this process may run."""
    return len(os.sched_getaffinity(0))


def clocks(root: Path = Path("/sys")) -> dict[str, str]:
    """The limits of CPU and GPU clocks, by file; empty where the machine tells none."""
    found = {}
    for pattern in _CLOCKS:
        for path in sorted(root.glob(pattern)):
            try:
                found[str(path.relative_to(root))] = path.read_text().strip()
            except OSError:
                continue
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of heme-edge and of those packages that are installed."""
    found = {"heme-edge": __version__}
    for package in packages:
        version = version_of(package)
        if version is not None:
            found[package] = version
    return found


def version_of(package: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
