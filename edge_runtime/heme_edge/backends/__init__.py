"""Inference backends: which there are, which work here, and the fastest that passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from heme_edge.errors import BackendError, HemeError

if TYPE_CHECKING:
    from heme_edge.backends.base import Backend
    from heme_edge.bundle import Bundle

AUTO = "auto"
BACKENDS = {
    "onnxruntime": ("heme_edge.backends.onnxruntime_cpu", "OnnxRuntimeBackend"),
    "openvino": ("heme_edge.backends.openvino_cpu", "OpenVinoBackend"),
    "tensorrt": ("heme_edge.backends.tensorrt.backend", "TensorRtBackend"),
}
"""Module and class of each; a module is imported when its backend is asked about."""


@dataclass(frozen=True)
class Check:
    """Whether a backend x precision works on this machine, and why not.

    Attributes:
        precision: empty where the backend cannot be tried at all.
        mean_difference: mean |Δp| on the reference crops, where it works.
    """

    backend: str
    precision: str
    works: bool
    reason: str
    mean_difference: float | None = None


def open_backend(
    bundle: Bundle,
    backend: str = AUTO,
    precision: str = AUTO,
    threads: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Backend:
    """A backend that passed the bundle's reference crops on this machine.

    Args:
        bundle: a verified bundle.
        backend: a name of ``BACKENDS``, or ``auto``.
        precision: one of the bundle's, or ``auto``. What is left to ``auto`` is the fastest
            that passes: measured on first use and remembered, see ``fastest``.
        threads: for CPU backends; 0 is the runtime's own choice.
        say: told in one line when it measures, which takes a moment.

    Raises:
        BackendError: none works; the sentence says why.
        BundleError: the bundle has no such precision.
        MissingExtraError: the backend's package is not installed.
    """
    if backend not in (AUTO, *BACKENDS):
        raise BackendError(f"There is no backend '{backend}'.", f"--backend {'|'.join(BACKENDS)}")
    if AUTO not in (backend, precision):
        return open_checked(bundle, backend, precision, threads)[0]
    from heme_edge.backends.fastest import open_fastest

    return open_fastest(bundle, backend, precision, threads, say)


def why_not(backend: str) -> str:
    """Empty where a backend can be tried on this machine, else one sentence why not."""
    return str(_module(backend).why_not())


def schemes_of(backend: str) -> tuple[str, ...]:
    """Which schemes of a bundle's files a backend runs, in order of preference."""
    return tuple(_module(backend).SCHEMES)


def open_checked(
    bundle: Bundle, backend: str, precision: str, threads: int = 0
) -> tuple[Backend, float]:
    """A backend that passed the reference crops, and its mean |Δp| on them.

    Raises:
        BackendError: it cannot be opened, or misses its reference.
        BundleError: the bundle has no such precision for it.
        MissingExtraError: its package is not installed.
    """
    allowed = bundle.model(precision, schemes_of(backend)).tolerance
    opened: Backend = getattr(_module(backend), BACKENDS[backend][1])(bundle, precision, threads)
    try:
        difference = reference_difference(opened, bundle)
        if not difference <= allowed:
            raise BackendError(
                f"{opened.name} misses its reference on this machine: "
                f"mean |Δp| {difference:.4f}, allowed {allowed:.4f}.",
                "--precision fp32",
            )
    except BaseException:
        opened.close()
        raise
    return opened, difference


def reference_difference(backend: Backend, bundle: Bundle) -> float:
    """Mean absolute difference of probabilities from the bundle's reference crops."""
    import numpy as np

    crops, expected = bundle.reference()
    got, _ = backend.infer(crops)
    return float(np.abs(got - expected).mean())


def check_all(bundle: Bundle) -> list[Check]:
    """Every backend x precision of the bundle tried on this machine; see ``heme-edge doctor``."""
    checks = []
    for backend in BACKENDS:
        reason = why_not(backend)
        if reason:
            checks.append(Check(backend, "", False, reason))
        else:
            checks += [_check(bundle, backend, precision) for precision in bundle.precisions]
    return checks


def _check(bundle: Bundle, backend: str, precision: str) -> Check:
    try:
        opened, difference = open_checked(bundle, backend, precision)
    except HemeError as error:
        return Check(backend, precision, False, error.message)
    opened.close()
    return Check(backend, precision, True, "", difference)


def _module(backend: str) -> Any:
    return import_module(BACKENDS[backend][0])
