"""Where the simulated stage stands at each frame, and how sharp the picture is there."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

SPEED_UM_S = 100.0
"""Highest speed of a move."""
STOP_S = (1.2, 2.2)
BACK_EVERY = 5
"""After so many stops the stage returns to an earlier place once."""
BLOCK_S = 9.0
"""One stretch out of focus in each block of this length."""
SHARP_BELOW_UM = 0.3
"""Blur (sigma) up to which a frame counts as sharp."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """What the camera sees at one frame.

    Attributes:
        x_um, y_um: slide position of the view's first pixel (top left), µm.
        blur_um: sigma of the defocus; 0 in focus.
        moving: whether the stage moves.
        angle_deg: how far the camera is turned against the stage, clockwise.
        light: brightness of the lamp; 1 is normal.
    """

    x_um: float
    y_um: float
    blur_um: float
    moving: bool
    angle_deg: float = 0.0
    light: float = 1.0

    @property
    def sharp(self) -> bool:
        """Whether cells could be named from this frame."""
        return self.blur_um <= SHARP_BELOW_UM


@dataclass(frozen=True)
class _Leg:
    start_s: float
    move_s: float
    origin: Place
    goal: Place


class Legs:
    """Moves one after another, each after a stop; slow at both ends.

    Attributes:
        period_s: how long all of it takes.
    """

    def __init__(self) -> None:
        self._legs: list[_Leg] = []
        self._starts: list[float] = []
        self.period_s = 0.0

    def add(self, origin: Place, goal: Place, stop_s: float, top_um_s: float) -> None:
        """A stop at ``origin``, then a move to ``goal`` at no more than ``top_um_s``."""
        distance = float(np.hypot(goal[0] - origin[0], goal[1] - origin[1]))
        move_s = 1.5 * distance / top_um_s
        self._legs.append(_Leg(self.period_s + stop_s, move_s, origin, goal))
        self._starts.append(self.period_s + stop_s)
        self.period_s += stop_s + move_s

    def at(self, time_s: float) -> tuple[float, float, bool]:
        """x and y in µm, and whether the stage moves."""
        leg = self._legs[max(0, bisect_right(self._starts, time_s) - 1)]
        done = min(1.0, max(0.0, (time_s - leg.start_s) / max(leg.move_s, 1e-6)))
        share = done * done * (3 - 2 * done)
        x = leg.origin[0] + share * (leg.goal[0] - leg.origin[0])
        y = leg.origin[1] + share * (leg.goal[1] - leg.origin[1])
        return x, y, 0.0 < done < 1.0


class StagePath:
    """A scan in rows with stops, returns to earlier places and stretches out of focus.

    A pure function of the frame number: it repeats after ``period_s``, and never ends.

    Args:
        seed: draws the stops and the stretches out of focus.
        reach_um: how far the view can move in x and y.
        step_um: from one stop to the next in x and y.
        fps: frames per second.
    """

    frames: int | None = None

    def __init__(self, seed: int, reach_um: Place, step_um: Place, fps: float) -> None:
        rng = np.random.default_rng([seed, 0x57A6E])
        self._seed = seed
        self._fps = fps
        self._legs = Legs()
        places = _with_returns(_rows(reach_um, step_um, rng), rng)
        for origin, goal in zip(places, places[1:] + places[:1], strict=True):
            self._legs.add(origin, goal, float(rng.uniform(*STOP_S)), SPEED_UM_S)

    @property
    def period_s(self) -> float:
        """How long it takes until the scan begins anew, seconds."""
        return self._legs.period_s

    def pose(self, frame: int) -> Pose:
        """The pose at a frame number."""
        time_s = frame / self._fps
        x, y, moving = self._legs.at(time_s % self.period_s)
        return Pose(x, y, defocus_um(self._seed, time_s), moving)


def defocus_um(seed: int, time_s: float) -> float:
    """Sigma of the defocus at a time, µm: up and down again once in each block."""
    block = int(time_s // BLOCK_S)
    rng = np.random.default_rng([seed, 0xF0C5, block])
    length_s = rng.uniform(0.8, 2.2)
    start_s = rng.uniform(2.5, BLOCK_S - length_s)
    peak_um = rng.uniform(0.8, 2.0)
    phase = (time_s - block * BLOCK_S - start_s) / length_s
    return float(peak_um * np.sin(np.pi * phase) ** 2) if 0 < phase < 1 else 0.0


def _rows(reach_um: Place, step_um: Place, rng: np.random.Generator) -> list[Place]:
    """Stops in rows, to and fro, a little uneven as a hand-moved stage is."""
    xs = np.linspace(0, reach_um[0], max(1, round(reach_um[0] / step_um[0])) + 1)
    ys = np.linspace(0, reach_um[1], max(1, round(reach_um[1] / step_um[1])) + 1)
    stops = [(x, y) for j, y in enumerate(ys) for x in (xs if j % 2 == 0 else xs[::-1])]
    uneven = np.array(stops) + rng.normal(0, 6, (len(stops), 2))
    return [(float(x), float(y)) for x, y in np.clip(uneven, 0, reach_um)]


def _with_returns(stops: list[Place], rng: np.random.Generator) -> list[Place]:
    """The stops with a detour to an earlier one after every few."""
    places: list[Place] = []
    for i, stop in enumerate(stops):
        places.append(stop)
        if i and i % BACK_EVERY == 0:
            places += [stops[int(rng.integers(max(0, i - 8), i - 1))], stop]
    return places
