"""How well frames are placed on the slide over the tours of the simulated stage.

    benchmarks/registration.py [--sim-crops DIR] [--seed N] [--tour N]...

Every frame of a tour is judged by the gates and placed, in order, as fast as it goes. Prints one
JSON line for each tour; triples are median, 95th percentile and largest. ``error_um`` is the
distance from the true place, both in the camera's axes and from the first frame of a patch, after
all joins; ``lost`` are frames not placed, ``found`` those found again, ``false_joins`` joins that
are off by more than 5 µm, ``unjoined`` patches left besides the first; ``refused`` are frames not
used, by reason, ``sharp_refused`` those of them that are placed and blurred by 0.5 µm at most,
``soft_used`` frames used that are blurred by more than 0.8 µm.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from heme_edge.sim.stage import SimulatedStage
    from heme_edge.stage import Join, Placement

SHARP_UM, SOFT_UM = 0.5, 0.8
FALSE_JOIN_UM = 5.0
Places = NDArray[np.float64]


@click.command()
@click.option("--sim-crops", type=click.Path(exists=True, path_type=Path))
@click.option("--seed", default=0, show_default=True)
@click.option("--tour", "tours", type=int, multiple=True, help="[default: all]")
def main(sim_crops: Path | None, seed: int, tours: tuple[int, ...]) -> None:
    """Prints one line for each tour."""
    from heme_edge.sim.stage import SimulatedStage
    from heme_edge.sim.tours import TOUR_VIEW_PX, TOURS, tour_slide

    slide = tour_slide(seed, sim_crops)
    for number in tours or range(len(TOURS)):
        tour = TOURS[number]
        stage = SimulatedStage(seed=seed, smear=slide, view=TOUR_VIEW_PX, tour=tour)
        click.echo(json.dumps({"tour": number, "name": tour.name, "seed": seed, **measure(stage)}))


def measure(stage: SimulatedStage) -> dict[str, Any]:
    """The figures of one tour."""
    from heme_edge.gates import NOT_PLACED, Gates
    from heme_edge.sim.camera import axes
    from heme_edge.stage import FOUND, LOST, StageTracker

    assert stage.um_per_px is not None
    assert stage.path.frames is not None
    gates, tracker = Gates(stage.um_per_px), StageTracker(stage.um_per_px)
    placed: list[Placement] = []
    joins: list[Join] = []
    true, reasons, blurs, times = [], [], [], []
    for frame in range(stage.path.frames):
        pose, image = stage.pose(frame), stage.render(frame)
        started = time.perf_counter()
        look = gates.look(image)
        judged = time.perf_counter()
        placement, joined_now = tracker.place(image, frame / 30, look.sharp)
        times.append((judged - started, time.perf_counter() - judged))
        placed.append(placement)
        joins += joined_now
        reasons.append(gates.reason(look, placement))
        blurs.append(pose.blur_um)
        true.append(axes(pose.angle_deg) @ (pose.x_um, pose.y_um))
    states = [p.state for p in placed]
    errors, offsets = place_errors(placed, joins, np.array(true))
    return {
        "frames": len(placed),
        "error_um": percentiles(errors, (50, 95, 100)),
        "lost": states.count(LOST),
        "found": states.count(FOUND),
        "joins": len(joins),
        "false_joins": sum(false_join(join, offsets) for join in joins),
        "unjoined": len({p.patch for p in placed} - {j.patch for j in joins}) - 1,
        "correction_um_max": round(max(tracker.corrections_um, default=0.0), 3),
        "refused": dict(Counter(reason for reason in reasons if reason)),
        "sharp_refused": sum(
            r not in ("", NOT_PLACED) and b <= SHARP_UM for r, b in zip(reasons, blurs, strict=True)
        ),
        "soft_used": sum(not r and b > SOFT_UM for r, b in zip(reasons, blurs, strict=True)),
        "gate_ms": percentiles(1000 * np.array(times)[:, 0], (50, 95, 100)),
        "place_ms": percentiles(1000 * np.array(times)[:, 1], (50, 95, 100)),
    }


def place_errors(
    placed: list[Placement], joins: list[Join], true: Places
) -> tuple[Places, dict[int, Places]]:
    """Error of each placed frame in µm, and by patch what leads from its places to true ones."""
    from heme_edge.stage import LOST

    offsets: dict[int, Places] = {}
    roots: dict[int, Places] = {}
    errors = []
    for place, at in zip(placed, true, strict=True):
        here = np.array([place.x_um, place.y_um])
        if place.state == LOST:
            continue
        offsets.setdefault(place.patch, at - here)
        root, shift = joined(place.patch, joins)
        roots.setdefault(root, at - here - shift)
        errors.append(np.hypot(*(here + shift + roots[root] - at)))
    return np.array(errors), offsets


def joined(patch: int, joins: list[Join]) -> tuple[int, Places]:
    """What a patch is in the end part of, and what leads there."""
    shift = np.zeros(2)
    for join in joins:
        if join.patch == patch:
            patch, shift = join.into, shift + np.array([join.dx_um, join.dy_um])
    return patch, shift


def false_join(join: Join, offsets: dict[int, Places]) -> bool:
    """Whether a join is wrong; each offset leads from a patch to the true places."""
    off = offsets[join.patch] - offsets[join.into] - (join.dx_um, join.dy_um)
    return bool(np.hypot(*off) > FALSE_JOIN_UM)


def percentiles(values: Places, which: tuple[int, ...]) -> list[float]:
    """Rounded percentiles."""
    return [round(float(v), 3) for v in np.percentile(values, which)]


if __name__ == "__main__":
    main()
