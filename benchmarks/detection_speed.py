"""The learned detector on one field against its bare network, in turns in one process.

    python -m benchmarks.detection_speed [--width 1920 --height 1080 --um-per-px 0.23]

Prints one JSON line: medians in ms of both, and the median of the ratios of neighbouring turns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import click
import numpy as np

from heme_edge.bundle import load_bundle
from heme_edge.detect.learned import LearnedDetector, ready, spec_of
from heme_edge.detect.working_scale import at_working_scale
from heme_edge.sim import draw_smear


def ms(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


@click.command()
@click.option("--width", default=1920, show_default=True)
@click.option("--height", default=1080, show_default=True)
@click.option("--um-per-px", default=0.23, show_default=True)
@click.option("--precision", type=click.Choice(("fp32", "int8")), default="fp32")
@click.option("--turns", default=60, show_default=True)
def main(width: int, height: int, um_per_px: float, precision: str, turns: int) -> None:
    """Times the detector and its network."""
    bundle = load_bundle()
    spec = spec_of(bundle)
    detector = LearnedDetector(bundle.path / spec.files[precision], spec)
    wide_um, high_um = width * um_per_px + 1, height * um_per_px + 1
    smear = draw_smear(3, width_um=wide_um, height_um=high_um, um_per_px=um_per_px)
    field = np.ascontiguousarray(smear.image[:height, :width])
    given = ready(at_working_scale(field, um_per_px))[0][None]

    def whole() -> object:
        return detector.look(field, um_per_px)

    def network() -> object:
        return detector._session.run(None, {"field": given})

    both = np.array([(ms(whole), ms(network)) for _ in range(turns + 5)])[5:]
    middle = np.median(both, axis=0)
    click.echo(
        json.dumps(
            {
                "field_px": [width, height],
                "precision": precision,
                "cells": len(detector.find(field, um_per_px)),
                "ms": round(float(middle[0]), 1),
                "network_ms": round(float(middle[1]), 1),
                "times_network": round(float(np.median(both[:, 0] / both[:, 1])), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
