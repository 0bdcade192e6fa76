"""``heme-edge verify`` and ``heme-edge replay``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.cli_support import note
from heme_edge.session.reclassify import reclassify
from heme_edge.session.replay import replay
from heme_edge.session.schema import SessionError
from heme_edge.session.store import Session
from heme_edge.session.verify import LIMITS, verify


def report_sound(folder: Path, say: Callable[[str], None]) -> bool:
    """Says what is wrong with a session; whether nothing is.

    Raises:
        SessionError: there is no session.
    """
    problems = verify(folder)
    for problem in problems:
        say(f"{problem.where}: {problem.what}")
    if problems:
        say(f"{len(problems)} problems in '{folder}'. {LIMITS}")
        return False
    found = replay(folder)
    signed = found.state.signature
    signature = f"signed by {signed.initials}" if signed else "not signed"
    corrections = f"{len(found.state.active)} corrections, {found.state.seq} log entries"
    say(
        f"Sound: {found.cells} cells, {found.tally.total} of them counted, {corrections}, "
        f"{signature}. {LIMITS}"
    )
    return True


def replay_record(
    folder: Path, bundle_path: Path | None, backend: str, precision: str, *, again: bool
) -> dict[str, Any]:
    """What rows and log say, and with ``again`` what the bundle says of the crops now.

    Raises:
        HemeError: there is no session, it is damaged, or the bundle is not the session's.
    """
    record = replay(folder).record()
    if again:
        record["reclassified"] = _reclassified(folder, bundle_path, backend, precision)
    return record


def _reclassified(
    folder: Path, bundle_path: Path | None, backend_name: str, precision: str
) -> dict[str, Any]:
    bundle = load_bundle(bundle_path)
    session = Session.open(folder)
    try:
        if bundle.digest != session.settings.bundle_sha256:
            raise SessionError(
                f"The session was named with another bundle ('{session.settings.bundle}').",
                "--bundle with that one",
            )
        if precision == "auto":
            precision = session.settings.precision
        backend = open_backend(bundle, backend_name, precision, say=note)
        try:
            return {"backend": backend.name, **reclassify(session, backend)}
        finally:
            backend.close()
    finally:
        session.close()


def print_record(record: dict[str, Any]) -> None:
    """As one line of JSON on stdout, as ``live`` writes its summary."""
    print(json.dumps(record), flush=True)
