"""``auto``: the fastest backend x precision that passes here, measured once and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heme_edge.backends import AUTO, BACKENDS, open_checked, schemes_of, why_not
from heme_edge.backends.remembered import Choices
from heme_edge.errors import BackendError, BundleError, HemeError

if TYPE_CHECKING:
    from heme_edge.backends.base import Backend
    from heme_edge.bundle import Bundle

CROPS = 32
"""About what one frame of a live camera holds."""
ROUNDS = 5
SECONDS = 1.5
"""After so many rounds, or so long, measuring ends; each candidate has one turn at least."""


@dataclass(frozen=True)
class Candidate:
    """A backend x precision that can be tried here."""

    backend: str
    precision: str

    @property
    def name(self) -> str:
        """For people and for the remembered choice, for example ``openvino int8``."""
        return f"{self.backend} {self.precision}"


def open_fastest(
    bundle: Bundle, backend: str, precision: str, threads: int, say: Callable[[str], None]
) -> Backend:
    """See ``heme_edge.backends.open_backend``.

    The choice is remembered for this processor, its clocks, the GPU, the packages and the
    bundle, and checked against the reference crops again at every start. Where it does not pass
    any more, everything is measured anew.
    """
    candidates = candidates_for(bundle, backend, precision)
    if len(candidates) == 1:
        only = candidates[0]
        return open_checked(bundle, only.backend, only.precision, threads)[0]
    choices = Choices(bundle, [c.name for c in candidates], threads)
    remembered = [c for c in candidates if c.name == choices.load()]
    for candidate in remembered:
        with suppress(HemeError):
            return open_checked(bundle, candidate.backend, candidate.precision, threads)[0]
    say(f"Measuring which of {', '.join(c.name for c in candidates)} is the fastest here.")
    opened = _open_all(bundle, candidates, threads)
    rates = _measure(opened, bundle)
    best = max(rates, key=lambda c: rates[c])
    choices.store(best.name, {c.name: rate for c, rate in rates.items()})
    for candidate, other in opened.items():
        if candidate != best:
            other.close()
    return opened[best]


def candidates_for(bundle: Bundle, backend: str, precision: str) -> list[Candidate]:
    """What can be tried of what was asked for; never empty.

    Raises:
        BackendError: the backend asked for cannot be tried here.
        BundleError: no backend here runs such a precision of the bundle.
    """
    reason = "" if backend == AUTO else why_not(backend)
    if reason:
        raise BackendError(reason, "heme-edge doctor")
    backends = [b for b in BACKENDS if not why_not(b)] if backend == AUTO else [backend]
    precisions = bundle.precisions if precision == AUTO else (precision,)
    found = [Candidate(b, p) for b in backends for p in precisions if _holds(bundle, b, p)]
    if not found:
        bundle.model(precision, schemes_of(backends[0]))
    return found


def _holds(bundle: Bundle, backend: str, precision: str) -> bool:
    try:
        bundle.model(precision, schemes_of(backend))
    except BundleError:
        return False
    return True


def _open_all(
    bundle: Bundle, candidates: list[Candidate], threads: int
) -> dict[Candidate, Backend]:
    """Those that pass the reference crops.

    Raises:
        BackendError: none does.
    """
    opened, reasons = {}, []
    for candidate in candidates:
        try:
            opened[candidate], _ = open_checked(
                bundle, candidate.backend, candidate.precision, threads
            )
        except HemeError as error:
            reasons.append(error.message)
    if not opened:
        raise BackendError(
            f"No model of the bundle works here: {' '.join(reasons)}", "heme-edge doctor"
        )
    return opened


def _measure(opened: dict[Candidate, Backend], bundle: Bundle) -> dict[Candidate, float]:
    """Crops/s of each in its best round; rounds are interleaved, so that a busy moment of the
    machine hits all alike."""
    crops = bundle.reference()[0][:CROPS]
    fastest_s = dict.fromkeys(opened, float("inf"))
    started = time.perf_counter()
    for _ in range(ROUNDS):
        for candidate, backend in opened.items():
            begun = time.perf_counter()
            backend.infer(crops)
            took = time.perf_counter() - begun
            fastest_s[candidate] = min(fastest_s[candidate], took)
        if time.perf_counter() - started > SECONDS:
            break
    return {candidate: len(crops) / seconds for candidate, seconds in fastest_s.items()}
