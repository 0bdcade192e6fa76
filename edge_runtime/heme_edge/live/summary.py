"""The summary of a session of ``heme-edge live``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.live.camera import Camera
from heme_edge.naming import Namer
from heme_edge.offline import about_model
from heme_edge.tally import Tally

SUMS = ("frames_captured", "frames_analysed", "frames_used", "frames_refused", "cells_counted",
        "duplicates_refused", "crops_named")  # fmt: skip
RECORDED = ("frames_recorded", "frames_not_recorded")


def summary_of(
    namer: Namer, tally: Tally, cameras: Sequence[Camera], heat: dict[str, float]
) -> dict[str, Any]:
    """What a session was, for its last line.

    Args:
        namer: that named its cells.
        tally: of all cameras.
        cameras: of it.
        heat: the highest temperatures of the board, °C; empty where it tells none.
    """
    records = [camera.record() for camera in cameras]
    return {
        **(records[0] if len(cameras) == 1 else _together(cameras, records)),
        "differential": tally.record(),
        "detector": namer.detector.name,
        "drift": namer.drift.report() if namer.drift else None,
        "counts": "each physical cell once",
        "notice": RESEARCH_USE_ONLY,
        **about_model(namer.bundle, namer.backend.name),
        **({"temperature_c": heat} if heat else {}),
    }


def _together(cameras: Sequence[Camera], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over several sources, and each source's own record."""
    sums: dict[str, Any] = {}
    for key in SUMS + (RECORDED if "recording" in records[0] else ()):
        values = [record[key] for record in records]
        sums[key] = (
            sum(map(Counter, values), Counter()) if isinstance(values[0], dict) else sum(values)
        )
    ages = np.concatenate([camera.ages_ms for camera in cameras])
    p50, p95 = np.percentile(ages, (50, 95)) if len(ages) else (0.0, 0.0)
    sums |= {"age_ms_p50": round(float(p50), 1), "age_ms_p95": round(float(p95), 1)}
    sources = [
        {"source_id": camera.number, "name": camera.source.name, **record}
        for camera, record in zip(cameras, records, strict=True)
    ]
    return sums | {"sources": sources}
