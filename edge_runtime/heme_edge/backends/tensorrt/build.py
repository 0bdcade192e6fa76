"""One ONNX file becomes one plan."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from heme_edge.backends.tensorrt.specs import PROFILE, EngineSpec, refuse_unfit
from heme_edge.backends.tensorrt.versions import (
    builder_flags,
    fresh_logger,
    keeps_timings,
    last_message,
    network_flags,
)
from heme_edge.backends.tensorrt.weak import keep_ends_single
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_PX
from heme_edge.errors import BackendError, BundleError

TICK_S = 1.0
"""How often a running build says how long it has taken."""
STOP_S = 5.0
"""How long an interrupted build may take to its next step."""


@dataclass
class Progress:
    """Where a build is, written by the building thread and read by the one that prints.

    Attributes:
        phase: what TensorRT says it does; empty where the version does not tell.
        stop: set to end the build at its next step, where the version can.
    """

    phase: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Built:
    """A plan, and what the builder measured on the way (may be empty)."""

    plan: bytes
    timing: bytes


def read_onnx(bundle: Bundle, spec: EngineSpec) -> bytes:
    """The file's bytes, the very ones whose hash the engine's fingerprint holds.

    Raises:
        BackendError: TensorRT cannot run such a file.
        BundleError: it was changed since the bundle was opened.
    """
    refuse_unfit(spec.model)
    path = bundle.path / spec.model.file
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.model.sha256:
        raise BundleError(f"'{path}' was changed.", "Copy the bundle again, or export it again")
    return content


def build_plan(
    trt: Any, onnx: bytes, spec: EngineSpec, workspace_mib: int, timing: bytes, progress: Progress
) -> Built:
    """Builds an engine of one profile, ``PROFILE``, in the calling thread.

    Args:
        trt: the TensorRT module.
        onnx: contents of the ONNX file.
        spec: what is built.
        workspace_mib: cap of the builder's and the engine's scratch memory in MiB.
        timing: of earlier builds on this machine; may be empty.
        progress: told the phase, asked whether to stop.

    Raises:
        BackendError: the file cannot be parsed, or no engine came of it.
    """
    refuse_unfit(spec.model)
    logger = fresh_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    _parse(trt, network, logger, onnx, spec)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    for flag in builder_flags(trt, spec.flags):
        config.set_flag(flag)
    if "FP16" in spec.flags:
        keep_ends_single(trt, network, config)
    config.add_optimization_profile(_profile(builder))
    timed = keeps_timings(trt)
    if timed:
        _start_from(config, timing)
    if hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor"):
        monitor = _monitor(trt, progress)  # held here: not every version holds it itself
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(
            f"TensorRT built no {spec.kind} engine from '{spec.model.file}': "
            f"{last_message(logger) or 'it gives no reason.'}",
            "heme-export engine --workspace-mib 1024",
        )
    return Built(bytes(memoryview(plan)), _measured(config) if timed else b"")


def _parse(trt: Any, network: Any, logger: Any, onnx: bytes, spec: EngineSpec) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(onnx) and network.num_outputs:
        return
    said = "it holds no model."
    if parser.num_errors:
        parser_error = parser.get_error(0)
        said = parser_error.desc()
    raise BackendError(
        f"TensorRT cannot read '{spec.model.file}': {' '.join(str(said).split())[:300]}",
        "Copy the bundle again, or export it again",
    )


def _profile(builder: Any) -> Any:
    profile = builder.create_optimization_profile()
    profile.set_shape("crops", *((n, CROP_PX, CROP_PX, 3) for n in PROFILE))
    return profile


def _start_from(config: Any, timing: bytes) -> None:
    """Begins with earlier timings; those of another TensorRT or GPU are not among them."""
    timing_cache = config.create_timing_cache(timing)
    if timing_cache is None:
        timing_cache = config.create_timing_cache(b"")
    config.set_timing_cache(timing_cache, ignore_mismatch=False)


def _measured(config: Any) -> bytes:
    timing_cache = config.get_timing_cache()
    return b"" if timing_cache is None else bytes(memoryview(timing_cache.serialize()))


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # known only at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.phase = phase_name

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not progress.stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def in_background(
    work: Callable[[], Built], progress: Progress, tick: Callable[[float, str], None]
) -> Built:
    """Runs a build in a thread of its own, so that Ctrl-C and the progress line work meanwhile.

    Args:
        work: the build.
        progress: the one that ``work`` was given.
        tick: called about once a second with elapsed seconds and the phase.

    Raises:
        KeyboardInterrupt: after the build was told to stop. A version that cannot stop goes on
            in a thread that ends with the process; nothing of it is written.
    """
    outcome: list[Built | BaseException] = []
    ended = threading.Event()  # an interrupted Thread.join takes the thread for ended (3.10, 3.11)

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed to the waiting thread whole
            outcome.append(error)
        ended.set()

    started = time.monotonic()
    thread = threading.Thread(target=run, name="build-engine", daemon=True)
    try:
        thread.start()
        while not ended.wait(TICK_S):
            tick(time.monotonic() - started, progress.phase)
    except KeyboardInterrupt:
        progress.stop.set()
        ended.wait(STOP_S)
        raise
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
