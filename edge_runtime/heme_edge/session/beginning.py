"""What a session says of itself when it is begun, and whether another run fits it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from heme_edge import __version__
from heme_edge.backends.base import Backend
from heme_edge.bundle import Bundle, sha256_of
from heme_edge.cells import cell_class
from heme_edge.notices import notice
from heme_edge.session.rows import SessionClass, Settings, Source
from heme_edge.session.schema import SessionError
from heme_edge.session.store import Session

SAME_SCALE = 1e-3
"""Scales that differ by less are the same: outputs have four decimals."""


def settings_of(
    command: str, bundle: Bundle, backend: Backend, optics: Path | None,
    sources: Sequence[Source], request: str = "",
) -> Settings:  # fmt: skip
    """The settings of a new session; arguments as in ``Settings``.

    Raises:
        OSError: the optics profile cannot be read.
    """
    classes = (
        SessionClass(one.code, one.name, cell_class(one.code).in_differential)
        for one in bundle.info.classes
    )
    return Settings(
        program=__version__, command=command, bundle=bundle.info.name,
        bundle_sha256=bundle.digest, optics_sha256=optics_digest(optics), backend=backend.name,
        precision=backend.precision, classes=tuple(classes),
        reject_threshold=bundle.info.reject_threshold, sources=tuple(sources),
        accepted_losses=bundle.accepted_losses, notice=notice(bundle.accepted_losses),
        request=request,
    )  # fmt: skip


def optics_digest(optics: Path | None) -> str:
    """SHA-256 of an optics profile; empty without one."""
    return sha256_of(optics) if optics else ""


def open_again(folder: Path, command: str, bundle: Bundle, optics: Path | None) -> Session:
    """Opens a session for writing, to go on with it.

    Raises:
        SessionError: there is none, or it was begun with another command, bundle or optics.
    """
    session = Session.open(folder, write=True)
    said = session.settings
    try:
        if said.command != command:
            raise SessionError(f"'{folder}' is a session of heme-edge {said.command}.")
        if said.bundle_sha256 != bundle.digest:
            raise SessionError(
                f"'{folder}' was begun with another bundle ('{said.bundle}', SHA-256 "
                f"{said.bundle_sha256[:12]}).",
                "--bundle with that one, or another --session",
            )
        if said.optics_sha256 != optics_digest(optics):
            other = "another optics profile" if said.optics_sha256 else "no optics profile"
            raise SessionError(f"'{folder}' was begun with {other}.", "--optics as then")
    except BaseException:
        session.close()
        raise
    return session


def check_sources(session: Session, sources: Sequence[Source]) -> None:
    """Whether what is looked at now fits a session that is gone on with.

    Raises:
        SessionError: there are more or fewer sources, or one has another scale.
    """
    before = session.settings.sources
    if len(before) != len(sources):
        raise SessionError(
            f"The session has {len(before)} sources, not {len(sources)}.", "--camera as then"
        )
    for old, new in zip(before, sources, strict=True):
        if not math.isclose(old.um_per_px, new.um_per_px, rel_tol=SAME_SCALE):
            raise SessionError(
                f"The session was begun at {old.um_per_px:g} µm/px; {new.name} has "
                f"{new.um_per_px:g}.",
                f"--um-per-px {old.um_per_px:g}, or another --session",
            )
