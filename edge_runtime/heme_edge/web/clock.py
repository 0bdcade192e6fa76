"""Times for people."""

from __future__ import annotations

from datetime import datetime


def clock(time_s: float) -> str:
    """Local time of seconds since 1970."""
    return datetime.fromtimestamp(time_s).strftime("%Y-%m-%d %H:%M:%S")
