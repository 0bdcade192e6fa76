"""What a session holds: settings, frames, cells and the log, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTED, MAP, CORRECT, UNDO, SIGN, REOPEN, RESUMED, END, CREATED = (
    "counted", "map", "correct", "undo", "sign", "reopen", "resumed", "end", "created",
)  # fmt: skip
"""Kinds of entries of the log."""


@dataclass(frozen=True)
class SessionClass:
    """A class of the bundle: its code, name, and whether it enters the differential."""

    code: str
    name: str
    in_differential: bool


@dataclass(frozen=True)
class Source:
    """A camera, stream, video or set of photos of a session.

    Attributes:
        name: for people.
        um_per_px: its scale; 0 where each photo or slide has its own.
        um_per_px_source: where that came from, see ``SessionScale``.
        simulated: whether its pictures are drawn.
    """

    name: str
    um_per_px: float
    um_per_px_source: str
    simulated: bool = False


@dataclass(frozen=True)
class Settings:
    """What the rows of a session depend on; written once.

    Attributes:
        program: version of heme-edge.
        command: ``live`` or ``classify``.
        bundle, bundle_sha256: name of the bundle and SHA-256 of its ``bundle.json``.
        optics_sha256: of the optics profile; empty without one.
        backend: backend and precision that named the cells.
        precision: ``fp32``, ``fp16`` or ``int8``.
        classes: in the order of ``probabilities``.
        reject_threshold: least probability of a counted name.
        sources: by their ``source_id``.
        accepted_losses: of the bundle, see ``Bundle.accepted_losses``.
        notice: what is said wherever the session is shown.
        request: fingerprint of what ``classify`` was asked; empty for ``live``.
    """

    program: str
    command: str
    bundle: str
    bundle_sha256: str
    optics_sha256: str
    backend: str
    precision: str
    classes: tuple[SessionClass, ...]
    reject_threshold: float
    sources: tuple[Source, ...]
    accepted_losses: tuple[str, ...] = ()
    notice: str = ""
    request: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """Class codes in the order of ``probabilities``."""
        return tuple(one.code for one in self.classes)


@dataclass(frozen=True)
class FrameRow:
    """A frame that was looked at.

    Attributes:
        source_id: number of its source.
        frame: its number there; a session that is gone on with begins anew at 0, see ``run``.
        time: when, seconds since 1970.
        patch: of the stage's map, as it was called then.
        x_um, y_um: centre of its first pixel, µm of the patch.
        width_um, height_um: what it shows.
        not_used: why no cells were looked for in it; empty where they were.
        cells: found in it, counted before or not.
        name: file name of a photo or slide; else empty.
        run: 0, and one more each time the session is gone on with.
    """

    source_id: int
    frame: int
    time: float
    patch: int
    x_um: float
    y_um: float
    width_um: float
    height_um: float
    not_used: str = ""
    cells: int = 0
    name: str = ""
    run: int = 0


@dataclass(frozen=True)
class CellRow:
    """A cell as it was counted; never changed afterwards.

    Attributes:
        id: number in the session.
        source_id, frame, run: the frame of its best view.
        x_px, y_px: its centre there.
        radius_um: None for a single-cell photo, of which nobody measured it.
        patch, slide_x_um, slide_y_um: its place on the slide; a photo is a patch of its own.
        code, probability: what the model said.
        probabilities: float32 ``[C]``.
        disagreement: nats.
        reason: why it is not in the differential; empty where it is.
        kind: ``cell`` or ``platelet-clump``.
        views: how many its name is the mean of.
        time: when it was counted, seconds since 1970.
        crop: JPEG of its 24 µm, 96x96 px; empty where it could not be kept.
    """

    id: int
    source_id: int
    frame: int
    x_px: float
    y_px: float
    radius_um: float | None
    patch: int
    slide_x_um: float
    slide_y_um: float
    code: str
    probability: float
    probabilities: NDArray[np.float32]
    disagreement: float
    reason: str
    kind: str
    views: int
    time: float
    crop: bytes = b""
    run: int = 0


@dataclass(frozen=True)
class CellSummary:
    """A cell as it is now: corrected, and in the patch that its own one was joined to.

    Attributes:
        code: the corrected one where a person gave one, else the model's.
        named, reason_named: what the model said, and why that was not in the differential.
        reason: why it is not in the differential with ``code``; empty where it is.
        corrected: whether a person gave ``code``.
    """

    id: int
    source_id: int
    run: int
    frame: int
    x_px: float
    y_px: float
    radius_um: float | None
    patch: int
    slide_x_um: float
    slide_y_um: float
    code: str
    named: str
    reason_named: str
    probability: float
    disagreement: float
    reason: str
    corrected: bool
    kind: str
    views: int
    time: float


@dataclass(frozen=True)
class KeyframeRow:
    """A view of the stage's map, by which a place is found again; no part of the record.

    Attributes:
        source_id: whose map.
        patch, x, y, sharp: see ``heme_edge.stage.Keyframe``.
        levels: int8 ``[h, w]``.
    """

    source_id: int
    patch: int
    x: float
    y: float
    sharp: bool
    levels: NDArray[np.int8]


@dataclass(frozen=True)
class Batch:
    """What one transaction adds.

    Attributes:
        joins: patches that were joined before any cell of this batch was counted:
            ``(source_id, patch, into, dx_um, dy_um)``.
        duplicates: ``(id, of)``: cells that turned out to be one with another, which is counted
            already or will be.
        maps: the whole map of each source whose map has changed.
    """

    frames: Sequence[FrameRow] = ()
    cells: Sequence[CellRow] = ()
    duplicates: Sequence[tuple[int, int]] = ()
    joins: Sequence[tuple[int, int, int, float, float]] = ()
    maps: dict[int, Sequence[KeyframeRow]] = field(default_factory=dict)


@dataclass(frozen=True)
class LogEntry:
    """One entry of the log; each names the one before by its SHA-256.

    Attributes:
        seq: from 1, without gaps.
        time: seconds since 1970.
        kind: ``counted``, ``correct``, ``undo``, ``sign``, …
        body: what it says.
    """

    seq: int
    time: float
    kind: str
    body: dict[str, Any]
    previous: str
    sha256: str


@dataclass(frozen=True)
class Signature:
    """A sign-off that holds: nothing was counted or changed after it."""

    seq: int
    time: float
    initials: str


@dataclass(frozen=True)
class Problem:
    """Something that ``verify`` found: where (table and row), and what is wrong there."""

    where: str
    what: str
