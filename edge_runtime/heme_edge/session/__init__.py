"""The session: every frame and counted cell, and what persons did with them, in one file."""

from __future__ import annotations

from heme_edge.session.replay import replay
from heme_edge.session.rows import (
    Batch,
    CellRow,
    CellSummary,
    FrameRow,
    KeyframeRow,
    LogEntry,
    Problem,
    SessionClass,
    Settings,
    Signature,
    Source,
)
from heme_edge.session.schema import SessionError
from heme_edge.session.store import Session
from heme_edge.session.verify import verify

__all__ = [
    "Batch",
    "CellRow",
    "CellSummary",
    "FrameRow",
    "KeyframeRow",
    "LogEntry",
    "Problem",
    "Session",
    "SessionClass",
    "SessionError",
    "Settings",
    "Signature",
    "Source",
    "replay",
    "verify",
]
