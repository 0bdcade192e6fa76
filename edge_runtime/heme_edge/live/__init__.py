"""``heme-edge live``: what a camera sees, every physical cell counted once."""

from __future__ import annotations

from heme_edge.live.request import Request
from heme_edge.live.run import run

__all__ = ["Request", "run"]
