"""``heme-edge classify``: one run over photos, from the request to the summary line."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from heme_edge import RESEARCH_USE_ONLY, __version__
from heme_edge.backends import open_backend
from heme_edge.bundle import Bundle, load_bundle
from heme_edge.classify import (
    Counts,
    Photo,
    Work,
    classify_crops,
    classify_fields,
    collect,
    first_fields,
)
from heme_edge.cli_support import note
from heme_edge.detect import open_detector
from heme_edge.errors import HemeError, OpticsError
from heme_edge.frames.pyramid import check_installed
from heme_edge.naming import Namer
from heme_edge.notices import notice
from heme_edge.optics.drift import DriftMeter
from heme_edge.optics.session import SessionScale, assumed_scale, known_scale, measured_scale
from heme_edge.optics.use import Optics, open_optics
from heme_edge.outputs import SKIPPED, ResultFiles
from heme_edge.resume import Earlier, fingerprint
from heme_edge.session.beginning import settings_of
from heme_edge.session.photos import PhotoRecorder, begin_or_go_on, photo_source
from heme_edge.slides import classify_slide
from heme_edge.tally import Tally

DIFFERENTIAL_CELLS = 500
"""Cells of a differential of the bone marrow (ICSH 2008): then a slide is left."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        um_per_px: None means from ``optics``, or measured; of a slide, what it says itself.
        max_cells: counted cells after which a slide is left; 0: no limit.
        session: folder of a session that everything goes to as well; None: no session.
    """

    paths: tuple[Path, ...]
    out: Path
    crops: bool = False
    um_per_px: float | None = None
    bundle: Path | None = None
    precision: str = "auto"
    backend: str = "auto"
    optics: Path | None = None
    max_cells: int = DIFFERENTIAL_CELLS
    session: Path | None = None
    detector: str = "auto"


def run(request: Request, say: Callable[[str], None]) -> Counts:
    """Classifies photos and slides and writes the results; after Ctrl-C too, for what is done.

    An interrupted run is gone on with when the same is asked again.

    Raises:
        HemeError: wrong use, or nothing to read.
        KeyboardInterrupt: again, once the results are written.
    """
    photos = collect(request.paths)
    _check(request, photos)
    bundle = load_bundle(request.bundle)
    optics = open_optics(request.optics, bundle, say)
    scale = _scale(request, photos, optics)
    if request.um_per_px is None and not all(photo.slide for photo in photos):
        say(f"Scale: {scale.words}. Give --um-per-px if it is another.")
    namer = Namer(
        bundle,
        open_backend(bundle, request.backend, request.precision, say=note),
        open_detector(request.detector, bundle),
        DriftMeter(bundle.info.optics),
    )
    tally, counts = Tally.of(bundle), Counts()
    interrupted = False
    asked = _asked(request, photos, bundle)
    with (
        ResultFiles(request.out, tally.names, asked) as files,
        _session(request, namer, scale, asked, files.earlier) as session,
    ):
        _take_up(files.earlier, tally, counts, say)
        try:
            with _progress(len(photos)) as (bar, more), _interruptible(bar) as advance:
                work = Work(namer, files, tally, counts, advance, more, session)
                _classify(request, photos, scale, optics, work)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            namer.backend.close()
        about = _about(request, namer, scale, optics, counts, interrupted)
        if all(photo.slide for photo in photos):
            about |= {"um_per_px": None, "um_per_px_source": "slide"}  # see each slide's report
        if session is not None and not interrupted:
            session.end()
        files.finish(tally, about | {"slides": files.slides}, complete=not interrupted)
    for warning in drift_warnings(namer):
        say(f"Warning: {warning}")
    _summary(request, bundle, tally, counts, say)
    if interrupted:
        raise KeyboardInterrupt
    return counts


def _check(request: Request, photos: Sequence[Photo]) -> None:
    slide = next((photo for photo in photos if photo.slide), None)
    if request.crops and slide is not None:
        raise HemeError(f"'{slide.path}' is a whole slide, not a single cell.", "Without --crops")
    if request.crops and request.optics:
        raise OpticsError("--optics is for fields; --crops are corrected already.", "without it")
    if slide is not None:
        check_installed()


def _asked(request: Request, photos: Sequence[Photo], bundle: Bundle) -> str:
    """Fingerprint of everything that the results depend on."""
    said: list[Any] = [__version__, bundle.digest, request.precision, request.backend]
    said += [request.crops, request.um_per_px, request.max_cells, request.detector]
    said += [str(request.session.resolve())] if request.session else []
    optics = [request.optics] if request.optics else []
    return fingerprint(said, [*(photo.path for photo in photos), *optics])


@contextmanager
def _session(
    request: Request, namer: Namer, scale: SessionScale, asked: str, earlier: Earlier
) -> Iterator[PhotoRecorder | None]:
    """The session of a run: a new one, or that of the same run that was interrupted.

    Raises:
        SessionError: the folder holds another session, or cannot be written.
    """
    if request.session is None:
        yield None
        return
    said = settings_of(
        "classify", namer.bundle, namer.backend, request.optics,
        [photo_source(scale.um_per_px, scale.source)], asked,
    )  # fmt: skip
    session = begin_or_go_on(request.session, said, earlier)
    try:
        yield PhotoRecorder(session)
    finally:
        session.close()


def _take_up(earlier: Earlier, tally: Tally, counts: Counts, say: Callable[[str], None]) -> None:
    """Counts what an interrupted run wrote."""
    for cell in earlier.cells:
        tally.add_one(cell["code"], cell["reason"])
    counts.cells = len(earlier.cells)
    counts.skipped = sum(photo["status"] == SKIPPED for photo in earlier.photos)
    counts.read = len(earlier.photos) - counts.skipped
    if earlier.photos:
        say(f"Going on after {len(earlier.photos)} photos or fields that an earlier run did.")


def _classify(
    request: Request,
    photos: Sequence[Photo],
    scale: SessionScale,
    optics: Optics | None,
    work: Work,
) -> None:
    """Photos first, then slide after slide; what an earlier run did is left out."""
    earlier = work.files.earlier
    done = {row["photo"] for row in earlier.photos}
    left = [photo for photo in photos if not photo.slide and photo.name not in done]
    if request.crops:
        classify_crops(left, scale.um_per_px, work)
    else:
        classify_fields(left, scale.at, work, optics.correct if optics else None)
    for slide in (photo for photo in photos if photo.slide):
        classify_slide(slide, request.um_per_px, request.max_cells, work, earlier)


def _scale(request: Request, photos: Sequence[Photo], optics: Optics | None) -> SessionScale:
    known = known_scale(request.um_per_px, optics.profile if optics else None)
    if known is not None:
        return known
    fields = [] if request.crops else first_fields([p for p in photos if not p.slide])
    return measured_scale(fields) if fields else assumed_scale()


def drift_warnings(namer: Namer) -> list[str]:
    """What the drift meter has to say of the session so far."""
    report = namer.drift.report() if namer.drift else None
    return list(report["warnings"]) if report else []


def _about(
    request: Request, namer: Namer, scale: SessionScale, optics: Optics | None, counts: Counts,
    interrupted: bool,
) -> dict[str, Any]:  # fmt: skip
    return {
        "notice": RESEARCH_USE_ONLY,
        "heme_edge": __version__,
        "photos": "crops" if request.crops else "fields",
        **scale.record(),
        "optics": optics.record() if optics else None,
        "drift": namer.drift.report() if namer.drift else None,
        "read": counts.read,
        "skipped": counts.skipped,
        "cells": counts.cells,
        "interrupted": interrupted,
        "detector": None if request.crops else namer.detector.name,
        "looks_for": None if request.crops else namer.detector.looks_for,
        **about_model(namer.bundle, namer.backend.name),
    }


def about_model(bundle: Bundle, backend: str) -> dict[str, Any]:
    """Which model named the cells, and what it cannot name: for every output."""
    return {
        "bundle": bundle.info.name,
        "bundle_sha256": bundle.digest,
        "accepted_losses": list(bundle.accepted_losses),
        "backend": backend,
        "classes": {c.code: c.name for c in bundle.info.classes},
        "reject_threshold": bundle.info.reject_threshold,
        "not_counted_here": "red cells (ER5, ER6) are never searched for in fields",
    }


def _summary(
    request: Request, bundle: Bundle, tally: Tally, counts: Counts, say: Callable[[str], None]
) -> None:
    for line in differential_lines(tally):
        say(line)
    say(f"read {counts.read} / skipped {counts.skipped} / cells {counts.cells}")
    say(f"Results: {request.out}. {notice(bundle.accepted_losses)}")


def differential_lines(tally: Tally) -> Iterator[str]:
    """The differential as text: classes that occurred, with 95 % Wilson intervals."""
    yield f"Differential of {tally.total} nucleated cells with 95 % intervals:"
    for row in tally.rows():
        if row.count:
            interval = f"  ({row.low95:.1f}-{row.high95:.1f})"
            yield f"  {row.code:<4}{row.name:<28}{row.count:>6}  {row.percent:5.1f} %{interval}"
    if tally.left_out:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(tally.left_out.items()))
        yield f"  not counted: {reasons}; red cells are not counted here"


@contextmanager
def _interruptible(advance: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Holds back Ctrl-C until the photo in hand is written whole; a second one is not held."""
    pressed = threading.Event()

    def press(_signal: int, _frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    def step(done: int) -> None:
        advance(done)
        if pressed.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield advance
        return
    old = signal.signal(signal.SIGINT, press)
    try:
        yield step
    finally:
        signal.signal(signal.SIGINT, old)


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar with rate and time left on a terminal, nothing elsewhere: to advance it, to add."""
    if not sys.stderr.isatty():
        yield lambda _: None, lambda _: None
        return
    from heme_edge.progress import photo_bar

    with photo_bar() as bar:
        task = bar.add_task("photos", total=total)

        def more(fields: int) -> None:
            bar.update(task, total=(bar.tasks[0].total or 0) + fields)

        yield lambda done: bar.advance(task, done), more
