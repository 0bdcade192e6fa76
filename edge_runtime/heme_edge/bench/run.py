"""One benchmark: every backend x precision in its own process, rounds interleaved."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.backends import BACKENDS, why_not
from heme_edge.backends.remembered import PACKAGES
from heme_edge.bench.children import Child
from heme_edge.bench.worker import Task
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.classify import Photo, collect
from heme_edge.crops import CROP_UM_PER_PX, Image, centre_crop
from heme_edge.errors import HemeError, PhotoError
from heme_edge.machine import processor_name, usable_processors, versions
from heme_edge.photos import read_photo

BASE = ("onnxruntime", "fp32")
"""What every other answer is compared with."""
TURNED_CROPS, MOST_CROPS = 96, 512


@dataclass(frozen=True)
class Request:
    """What ``heme-edge bench`` was asked for.

    Attributes:
        bundle: its folder; None is the default one.
        batches: batch sizes.
        rounds: how often each is measured.
        seconds: how long a round of one batch size takes.
        threads: for CPU backends; 0 is the backend's own choice.
        crops: folder of single-cell images, the first 512 of it; None is the reference crops.
    """

    bundle: Path | None = None
    batches: tuple[int, ...] = (1, 8, 32)
    rounds: int = 3
    seconds: float = 1.0
    threads: int = 0
    crops: Path | None = None


@dataclass
class _Entry:
    """A backend x precision and what became of it."""

    backend: str
    precision: str
    not_run: str = ""
    child: Child | None = None
    rounds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def run(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures everything that works here.

    Args:
        request: what to measure.
        say: told how it goes on, one line each.

    Returns:
        the report as it is written to ``--json``. Its ``rows`` have ``crops_per_s`` (median of
        the rounds), ``p50_ms`` and ``p95_ms`` of a batch, ``peak_mib`` of the process,
        ``label_agreement`` and ``max_difference`` from fp32 of ONNX Runtime on the same crops;
        or ``not_run``, the reason.

    Raises:
        HemeError: the bundle or the crops cannot be used.
    """
    bundle = load_bundle(request.bundle)
    crops = _crops(request, bundle)
    with tempfile.TemporaryDirectory(prefix="heme-bench-") as work, ExitStack() as stack:
        np.save(Path(work) / "crops.npy", crops)
        entries = list(_entries(bundle))
        for entry in entries:
            if not entry.not_run:
                say(f"starting {entry.backend} {entry.precision}")
                _start(entry, _task(entry, bundle, request, Path(work)), stack)
        _measure(entries, request, say)
        rows = [row for entry in entries for row in _rows(entry, entries, Path(work))]
    return _about(request, bundle, len(crops)) | {"rows": rows}


def _crops(request: Request, bundle: Bundle) -> Image:
    """The images of ``--crops``, or the reference crops and their mirror images."""
    if request.crops is None:
        reference, _ = bundle.reference()
        return np.concatenate([reference, reference[:, :, ::-1]])[:TURNED_CROPS]
    return np.stack([_crop(photo) for photo in collect([request.crops])[:MOST_CROPS]])


def _crop(photo: Photo) -> Image:
    try:
        return centre_crop(read_photo(photo.path), CROP_UM_PER_PX)
    except PhotoError as error:
        raise HemeError(f"'{photo.path}' {error.message}.", "Leave it out of --crops") from error


def _entries(bundle: Bundle) -> Iterator[_Entry]:
    for backend in BACKENDS:
        reason = why_not(backend)
        for precision in bundle.precisions:
            yield _Entry(backend, precision, reason)


def _task(entry: _Entry, bundle: Bundle, request: Request, work: Path) -> Task:
    return Task(
        str(bundle.path), entry.backend, entry.precision, request.threads,
        str(work / "crops.npy"), str(_answers(entry, work)),
    )  # fmt: skip


def _answers(entry: _Entry, work: Path) -> Path:
    return work / f"{entry.backend}-{entry.precision}.npy"


def _start(entry: _Entry, task: Task, stack: ExitStack) -> None:
    entry.child = Child(task, Path(task.answers).with_suffix(".txt"))
    stack.callback(entry.child.close)
    try:
        entry.child.wait_ready()
    except HemeError as error:
        entry.not_run = error.message


def _measure(entries: list[_Entry], request: Request, say: Callable[[str], None]) -> None:
    for turn in range(request.rounds):
        for batch in request.batches:
            say(f"round {turn + 1} of {request.rounds}, batch {batch}")
            for entry in entries:
                _one_round(entry, batch, request.seconds)


def _one_round(entry: _Entry, batch: int, seconds: float) -> None:
    if entry.not_run or entry.child is None:
        return
    try:
        entry.rounds.setdefault(batch, []).append(entry.child.round(batch, seconds))
    except HemeError as error:
        entry.not_run = error.message


def _rows(entry: _Entry, entries: list[_Entry], work: Path) -> Iterator[dict[str, Any]]:
    name = {"backend": entry.backend, "precision": entry.precision}
    if entry.not_run:
        yield name | {"not_run": entry.not_run}
        return
    agreement = _agreement(_answers(entry, work), _base(entries, work))
    for batch, rounds in entry.rounds.items():
        yield name | {"batch": batch} | _figures(batch, rounds) | agreement


def _figures(batch: int, rounds: list[dict[str, Any]]) -> dict[str, float]:
    latencies = np.concatenate([r["latencies_ms"] for r in rounds])
    rates = [1000 * batch * len(r["latencies_ms"]) / sum(r["latencies_ms"]) for r in rounds]
    return {
        "crops_per_s": round(float(np.median(rates)), 1),
        "p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "p95_ms": round(float(np.percentile(latencies, 95)), 2),
        "peak_mib": round(max(r["peak_mib"] for r in rounds), 1),
    }


def _base(entries: list[_Entry], work: Path) -> NDArray[np.float32] | None:
    for entry in entries:
        if (entry.backend, entry.precision) == BASE and _answers(entry, work).exists():
            return np.asarray(np.load(_answers(entry, work)), np.float32)
    return None


def _agreement(answers: Path, base: NDArray[np.float32] | None) -> dict[str, float | None]:
    if base is None:
        return {"label_agreement": None, "max_difference": None}
    got = np.load(answers)
    same = got.argmax(1) == base.argmax(1)
    return {
        "label_agreement": round(float(same.mean()), 4),
        "max_difference": round(float(np.abs(got - base).max()), 6),
    }


def _about(request: Request, bundle: Bundle, crops: int) -> dict[str, Any]:
    return {
        "notice": RESEARCH_USE_ONLY,
        "accepted_losses": list(bundle.accepted_losses),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor_name(),
        "usable_processors": usable_processors(),
        "versions": versions(PACKAGES),
        "bundle": bundle.info.name,
        "bundle_sha256": bundle.digest,
        "crops": crops,
        "crops_from": "reference.npz, mirrored" if request.crops is None else str(request.crops),
        "rounds": request.rounds,
        "seconds": request.seconds,
        "threads": request.threads,
    }
