"""Builds the engines of a bundle on this machine, times them and remembers the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from heme_edge.backends.tensorrt.backend import this_machine
from heme_edge.backends.tensorrt.build import Built, Progress, build_plan, in_background, read_onnx
from heme_edge.backends.tensorrt.cache import Chosen, EngineCache, Machine, facts_of
from heme_edge.backends.tensorrt.cuda import open_cuda
from heme_edge.backends.tensorrt.engine import Engine
from heme_edge.backends.tensorrt.specs import KINDS, PROFILE, EngineSpec, specs_of
from heme_edge.backends.tensorrt.versions import load_library, strongly_typed
from heme_edge.bundle import Bundle
from heme_edge.errors import BackendError

WORKSPACE_MIB = 512
TIMED_S = 0.5
"""How long each batch size is timed, after a warm-up of as many batches as fit in a tenth."""


@dataclass(frozen=True)
class Options:
    """What ``heme-export engine`` was asked for.

    Attributes:
        kinds: engines to build, of ``specs.ALL_KINDS``.
        workspace_mib: cap of TensorRT's scratch memory in MiB.
    """

    kinds: tuple[str, ...] = KINDS
    workspace_mib: int = WORKSPACE_MIB


@dataclass(frozen=True)
class Report:
    """What became of one engine: its figures, and whether it passed its reference."""

    chosen: Chosen
    tolerance: float
    passed: bool


def make_engines(
    bundle: Bundle, options: Options, say: Callable[[str], None], line: Callable[[str], None]
) -> list[Report]:
    """Builds, times and judges engines; remembers those that pass, the fastest first.

    Args:
        bundle: a verified bundle.
        options: which engines.
        say: told what happened, one sentence each.
        line: told how a running build stands, about once a second.

    Raises:
        BackendError: no GPU, no engine could be built, or none passes its reference.
        BundleError: the bundle has no file for any of the kinds.
    """
    machine = this_machine()
    trt = load_library()
    cache = EngineCache()
    specs = specs_of(bundle, options.kinds, strongly_typed(trt))
    reports = []
    for number, spec in enumerate(specs, 1):
        title = f"{spec.kind} ({number} of {len(specs)})"
        try:
            plan = ensure_plan(
                trt, bundle, spec, machine, options.workspace_mib, cache,
                partial(_titled, say, title), partial(_titled, line, title),
            )  # fmt: skip
            reports.append(_judge(trt, bundle, spec, plan, options.workspace_mib))
        except BackendError as error:
            say(f"{title}: {error.message}")
    return _remember(bundle, machine, cache, reports)


def _titled(say: Callable[[str], None], title: str, text: str) -> None:
    say(f"{title}: {text}")


def ensure_plan(
    trt: Any, bundle: Bundle, spec: EngineSpec, machine: Machine, workspace_mib: int,
    cache: EngineCache, say: Callable[[str], None], line: Callable[[str], None],
) -> bytes:  # fmt: skip
    """The plan from the cache, or built now; one process builds at a time, the others wait.

    Raises:
        BackendError: it cannot be built or kept.
    """
    facts = facts_of(spec, machine, workspace_mib)
    with cache.lock(lambda: say("another process is building; waiting for it.")):
        cache.sweep()
        kept = cache.load(facts)
        if kept is not None:
            say("built before.")
            return kept
        started, progress = time.monotonic(), Progress()
        onnx = read_onnx(bundle, spec)
        timing = cache.timing(machine)
        work = partial(build_plan, trt, onnx, spec, workspace_mib, timing, progress)
        built: Built = in_background(work, progress, lambda s, phase: line(f"{s:.0f} s {phase}"))
        cache.store(facts, built.plan)
        cache.store_timing(machine, built.timing)
    size = len(built.plan) / 1e6
    say(f"built in {time.monotonic() - started:.0f} s, {size:.1f} MB.")
    return built.plan


def _judge(
    trt: Any, bundle: Bundle, spec: EngineSpec, plan: bytes, workspace_mib: int
) -> Report:  # fmt: skip
    engine = Engine(trt, plan, open_cuda(), len(bundle.codes))
    try:
        crops, expected = bundle.reference()
        step = PROFILE[-1]
        got = [engine.run(np.ascontiguousarray(crops[i : i + step]))[0]
               for i in range(0, len(crops), step)]  # fmt: skip
        difference = float(np.abs(np.concatenate(got) - expected).mean())
        speed = {str(n): crops_per_second(engine.run, n) for n in PROFILE}
    finally:
        engine.close()
    chosen = Chosen(spec.kind, workspace_mib, difference, speed)
    return Report(chosen, spec.tolerance, difference <= spec.tolerance)


def crops_per_second(run: Callable[[Any], Any], batch: int, seconds: float = TIMED_S) -> float:
    """Crops per second at a batch size, copies to and from the GPU included."""
    crops = np.random.default_rng(0).integers(0, 256, (batch, 96, 96, 3), np.uint8)
    _batches(run, crops, seconds / 10)
    started = time.perf_counter()
    done = _batches(run, crops, seconds)
    return done * batch / (time.perf_counter() - started)


def _batches(run: Callable[[Any], Any], crops: Any, seconds: float) -> int:
    until, done = time.perf_counter() + seconds, 0
    while not done or time.perf_counter() < until:
        run(crops)
        done += 1
    return done


def _remember(
    bundle: Bundle, machine: Machine, cache: EngineCache, reports: list[Report]
) -> list[Report]:
    """Keeps the choice: of what passed now and before, by speed at the usual batch."""
    if not reports:
        raise BackendError("No engine could be built.", "heme-edge doctor")
    judged = {r.chosen.kind for r in reports}
    before = [c for c in cache.chosen(bundle.digest, machine) if c.kind not in judged]
    passed = [*before, *(r.chosen for r in reports if r.passed)]
    passed.sort(key=lambda c: -c.crops_per_second[str(PROFILE[1])])
    cache.choose(bundle.digest, machine, passed)
    if not any(r.passed for r in reports):
        raise BackendError(
            "No engine passes the bundle's reference on this machine; ONNX Runtime is used.",
            "heme-export engine --precision fp32",
        )
    return reports
