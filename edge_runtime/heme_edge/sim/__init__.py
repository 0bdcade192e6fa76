"""The simulated stage and its drawn smears; training and benchmarks compose fields with it."""

from __future__ import annotations

from heme_edge.sim.slide import SlideCell, Smear, draw_smear

__all__ = ["SlideCell", "Smear", "draw_smear"]
