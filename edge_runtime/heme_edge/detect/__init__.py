"""Finding cells in a field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heme_edge.errors import DetectorError

if TYPE_CHECKING:
    from heme_edge.bundle import Bundle
    from heme_edge.detect.base import Detector

LEARNED, CLASSICAL, AUTO = "learned", "classical", "auto"
DETECTORS = (AUTO, LEARNED, CLASSICAL)
"""Names that ``open_detector`` knows."""


def open_detector(
    name: str = AUTO, bundle: Bundle | None = None, precision: str = "int8"
) -> Detector:
    """The detector of that name.

    Args:
        name: ``learned`` (of the bundle), ``classical`` (needs no weights), or ``auto``: the
            learned one where the bundle has one, else the classical one.
        bundle: None is the default one.
        precision: of the learned one: ``fp32``, or ``int8`` where the bundle has it, which is where
            that finds what fp32 finds.

    Raises:
        DetectorError: no detector has that name, or the bundle has none, or it cannot be used.
    """
    if name not in DETECTORS:
        raise DetectorError(
            f"There is no detector named {name!r}.", f"Known: {', '.join(DETECTORS)}."
        )
    if name != CLASSICAL:
        from heme_edge.bundle import load_bundle

        opened = bundle or load_bundle()
        if opened.info.detector:
            from heme_edge.detect.learned import LearnedDetector, spec_of

            spec = spec_of(opened)
            file = spec.files.get(precision, spec.files["fp32"])
            return LearnedDetector(opened.path / file, spec)
        if name == LEARNED:
            raise DetectorError(
                f"The bundle '{opened.info.name}' holds no detector.",
                "heme-export detector puts one into a bundle; the classical one needs none",
            )
    from heme_edge.detect.classical import ClassicalDetector

    return ClassicalDetector()
