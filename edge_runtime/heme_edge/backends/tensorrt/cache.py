"""Where built engines are kept: written whole or not at all, verified before they are loaded.

``<fingerprint>.engine`` is the plan; ``<fingerprint>.json`` beside it says what it was built for
and the plan's SHA-256, and is written last. A plan without a fitting one is never loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heme_edge.backends.tensorrt.driver import Gpu
from heme_edge.backends.tensorrt.specs import PROFILE, EngineSpec
from heme_edge.errors import BackendError

_PART = ".part"


@dataclass(frozen=True)
class Machine:
    """What a plan is tied to besides its network: the library, its version and the GPU."""

    library: str
    version: str
    gpu: Gpu


@dataclass(frozen=True)
class Chosen:
    """An engine that passed its reference check on this machine.

    Attributes:
        kind: see ``EngineSpec``.
        workspace_mib: cap it was built under, part of its fingerprint.
        mean_difference: mean |Δp| on the reference crops.
        crops_per_second: by batch size.
    """

    kind: str
    workspace_mib: int
    mean_difference: float
    crops_per_second: dict[str, float]


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/heme-edge/engines``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "heme-edge" / "engines"


def facts_of(spec: EngineSpec, machine: Machine, workspace_mib: int) -> dict[str, Any]:
    """All that a plan depends on."""
    return {
        "onnx_sha256": spec.model.sha256,
        "kind": spec.kind,
        "flags": list(spec.flags),
        "profile": list(PROFILE),
        "workspace_mib": workspace_mib,
        "machine": asdict(machine),
    }


def fingerprint_of(facts: dict[str, Any]) -> str:
    """SHA-256 of the facts, lower-case hex."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """The engines of one user on one machine.

    Args:
        folder: where they lie; None is ``cache_folder()``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def plan_path(self, facts: dict[str, Any]) -> Path:
        """Where the plan of these facts lies or would lie."""
        return self.folder / f"{fingerprint_of(facts)}.engine"

    def load(self, facts: dict[str, Any]) -> bytes | None:
        """The plan built for exactly these facts; None where there is none whole and fitting."""
        path = self.plan_path(facts)
        try:
            side = json.loads(path.with_suffix(".json").read_bytes())
            plan = path.read_bytes()
        except (OSError, ValueError):
            return None
        expected = {"facts": facts, "plan_sha256": hashlib.sha256(plan).hexdigest()}
        return plan if side == expected else None

    def store(self, facts: dict[str, Any], plan: bytes) -> None:
        """Keeps a plan, its sidecar last.

        Raises:
            BackendError: the folder cannot be written; nothing is left behind.
        """
        self._make_folder()
        path = self.plan_path(facts)
        side = {"facts": facts, "plan_sha256": hashlib.sha256(plan).hexdigest()}
        path.with_suffix(".json").unlink(missing_ok=True)
        self.write(path, plan)
        try:
            self.write(path.with_suffix(".json"), json.dumps(side, indent=1).encode())
        except BackendError:
            path.unlink(missing_ok=True)
            raise

    def timing(self, machine: Machine) -> bytes:
        """What earlier builds on this machine measured; empty where there is nothing whole."""
        try:
            content = self._timing_path(machine).read_bytes()
        except OSError:
            return b""
        digest, measured = content[:32], content[32:]
        return measured if hashlib.sha256(measured).digest() == digest else b""

    def store_timing(self, machine: Machine, measured: bytes) -> None:
        """Keeps what a build measured, behind its SHA-256."""
        if measured:
            path = self._timing_path(machine)
            self.write(path, hashlib.sha256(measured).digest() + measured)

    def _timing_path(self, machine: Machine) -> Path:
        return self.folder / f"{fingerprint_of(asdict(machine))}.timing"

    def chosen(self, bundle_digest: str, machine: Machine) -> list[Chosen]:
        """Engines of a bundle that passed on this machine, the fastest first."""
        try:
            content = json.loads(self._choice_path(bundle_digest, machine).read_bytes())
            return [Chosen(**entry) for entry in content]
        except (OSError, ValueError, TypeError):
            return []

    def choose(self, bundle_digest: str, machine: Machine, engines: list[Chosen]) -> None:
        """Remembers which engines passed, the fastest first."""
        text = json.dumps([asdict(engine) for engine in engines], indent=1)
        self.write(self._choice_path(bundle_digest, machine), text.encode())

    def _choice_path(self, bundle_digest: str, machine: Machine) -> Path:
        key = fingerprint_of({"bundle": bundle_digest, "machine": asdict(machine)})
        return self.folder / f"{key}.choice"

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Only one process builds at a time: a board has memory for one.

        Args:
            waiting: called once where another process holds the lock.

        Raises:
            BackendError: the folder cannot be written.
        """
        self._make_folder()
        try:
            file = (self.folder / "build.lock").open("a")
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def sweep(self) -> None:
        """Removes what killed builds left half written; call it under the lock."""
        for part in self.folder.glob(f"*{_PART}"):
            part.unlink(missing_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a file whole or not at all.

        Raises:
            BackendError: it cannot be written.
        """
        self._make_folder()
        part = path.with_name(f"{path.name}.{os.getpid()}{_PART}")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> BackendError:
        return BackendError(
            f"Nothing can be written to '{self.folder}' ({error.strerror}).",
            "Free some space there, or set XDG_CACHE_HOME to another folder",
        )
