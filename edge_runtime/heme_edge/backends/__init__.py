"""Inference backends: which there are, which work here, and the fastest that passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heme_edge.errors import BackendError, HemeError

if TYPE_CHECKING:
    from heme_edge.backends.base import Backend
    from heme_edge.bundle import Bundle

AUTO = "auto"
BACKENDS = ("onnxruntime",)
FASTEST_FIRST = ("int8", "fp16", "fp32")
"""Order in which ``auto`` tries precisions on a CPU; each must pass the reference check."""


@dataclass(frozen=True)
class Check:
    """Whether a backend x precision works on this machine, and why not."""

    backend: str
    precision: str
    works: bool
    reason: str
    mean_difference: float | None = None


def open_backend(
    bundle: Bundle, backend: str = AUTO, precision: str = AUTO, threads: int = 0
) -> Backend:
    """A backend that passed the bundle's reference crops on this machine.

    Args:
        bundle: a verified bundle.
        backend: ``auto`` or a name of ``BACKENDS``.
        precision: ``auto`` (the fastest that passes) or one of the bundle's.
        threads: for CPU backends; 0 is the runtime's own choice.

    Raises:
        BackendError: none works; the sentence says why.
        BundleError: the bundle has no such precision.
    """
    if backend not in (AUTO, *BACKENDS):
        raise BackendError(f"There is no backend '{backend}'.", f"--backend {'|'.join(BACKENDS)}")
    if precision != AUTO:
        return _open_checked(bundle, precision, threads)
    reasons = []
    for candidate in (p for p in FASTEST_FIRST if p in bundle.precisions):
        try:
            return _open_checked(bundle, candidate, threads)
        except HemeError as error:
            reasons.append(error.message)
    raise BackendError(
        f"No model of the bundle works here: {' '.join(reasons)}", "heme-edge doctor"
    )


def _open_checked(bundle: Bundle, precision: str, threads: int) -> Backend:
    from heme_edge.backends.onnxruntime_cpu import SCHEMES, OnnxRuntimeBackend

    opened = OnnxRuntimeBackend(bundle, precision, threads)
    difference = reference_difference(opened, bundle)
    allowed = bundle.model(precision, SCHEMES).tolerance
    if not difference <= allowed:
        opened.close()
        raise BackendError(
            f"{opened.name} misses its reference on this machine: mean |Δp| {difference:.4f}, "
            f"allowed {allowed:.4f}.",
            "--precision fp32",
        )
    return opened


def reference_difference(backend: Backend, bundle: Bundle) -> float:
    """Mean absolute difference of probabilities from the bundle's reference crops."""
    import numpy as np

    crops, expected = bundle.reference()
    got, _ = backend.infer(crops)
    return float(np.abs(got - expected).mean())


def check_all(bundle: Bundle) -> list[Check]:
    """Every backend x precision of the bundle tried on this machine; see ``heme-edge doctor``."""
    checks = []
    for name in BACKENDS:
        for precision in bundle.precisions:
            try:
                backend = _open_checked(bundle, precision, 0)
            except HemeError as error:
                checks.append(Check(name, precision, False, error.message))
                continue
            difference = reference_difference(backend, bundle)
            backend.close()
            checks.append(Check(name, precision, True, "", difference))
    return checks
