"""The cell ledger: every physical cell once."""

from __future__ import annotations

from heme_edge.ledger.entry import Entry, View
from heme_edge.ledger.ledger import MOVING, SEPARATE, CellLedger, Merged, Rules, Seen
from heme_edge.ledger.matching import Spot
from heme_edge.ledger.places import Places
from heme_edge.ledger.window import Window

__all__ = [
    "MOVING",
    "SEPARATE",
    "CellLedger",
    "Entry",
    "Merged",
    "Places",
    "Rules",
    "Seen",
    "Spot",
    "View",
    "Window",
]
