"""The cell ledger: every physical cell once."""

from __future__ import annotations

from heme_edge.ledger.entry import Entry, View
from heme_edge.ledger.ledger import CellLedger, Merged, Seen
from heme_edge.ledger.matching import Spot
from heme_edge.ledger.places import Places
from heme_edge.ledger.rules import MOVING, SEPARATE, Rules
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
