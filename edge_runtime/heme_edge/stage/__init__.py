"""Where a frame lies on the slide."""

from __future__ import annotations

from heme_edge.stage.keyframes import Keyframe, keyframe_again
from heme_edge.stage.placement import FOUND, LOST, NEW, TRACKING, Join, Placement
from heme_edge.stage.tracker import StageTracker

__all__ = [
    "FOUND",
    "LOST",
    "NEW",
    "TRACKING",
    "Join",
    "Keyframe",
    "Placement",
    "StageTracker",
    "keyframe_again",
]
