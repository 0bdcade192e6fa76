"""Finding cells in a field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from heme_edge.detect.base import Detector

DETECTORS = ("classical",)
"""Names that ``open_detector`` knows."""


def open_detector(name: str = "classical") -> Detector:
    """The detector of that name.

    Args:
        name: one of ``DETECTORS``.

    Raises:
        HemeError: no detector has that name.
    """
    if name == "classical":
        from heme_edge.detect.classical import ClassicalDetector

        return ClassicalDetector()
    raise HemeError(f"There is no detector named {name!r}.", f"Known: {', '.join(DETECTORS)}.")
