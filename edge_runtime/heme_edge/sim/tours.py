"""Ten tours of a large composed slide, to measure on: where the stage goes and what happens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heme_edge.sim.path import Legs, Place, Pose, defocus_um
from heme_edge.sim.slide import SLIDE_UM_PER_PX, SlideCell, Smear

SLIDE_UM = 1200.0, 900.0
TOUR_VIEW_PX = 1280, 960
MARGIN_UM = 12.0
"""The view keeps so far from the slide's edge, so that a turned one is still on it."""
STOP_S = 0.3
JUMP_UM_S = 1e9
"""A jump: the stage is elsewhere in the next frame."""
DRIFT, DRIFT_PERIOD_S = 0.03, 20.0
UNEVEN_UM = 6.0
CROPS_PER_CLASS = 60
NOT_CELLS = ("PL", "U1")
"""Classes of crops that are not put on the slide as nucleated cells."""


@dataclass(frozen=True)
class Tour:
    """One way over the slide.

    Attributes:
        name: for tables.
        route: places as shares of how far the view can move in x and y.
        jumps: numbers of the places that are jumped to.
        um_per_s: highest speed of a move.
        defocus: whether there are stretches out of focus.
        angle_deg: how far the camera is turned against the stage.
        drift: amplitude of the slow change of light, as a share.
    """

    name: str
    route: tuple[Place, ...]
    jumps: frozenset[int] = frozenset()
    um_per_s: float = 150.0
    defocus: bool = False
    angle_deg: float = 0.0
    drift: float = 0.0


def _rows(left: float, right: float, *ys: float) -> tuple[Place, ...]:
    """Rows to and fro."""
    ends = ((left, right), (right, left))
    return tuple((x, y) for k, y in enumerate(ys) for x in ends[k % 2])


LOOP = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2), (0.5, 0.2))
EIGHT = ((0.5, 0.5), (0.9, 0.1), (0.9, 0.9), (0.5, 0.5), (0.1, 0.1), (0.1, 0.9), (0.5, 0.5))
TOURS = (
    Tour("straight", _rows(0, 1, 0.5)),
    Tour("rows", _rows(0, 1, 0.1, 0.32, 0.54)),
    Tour("back-and-forth", ((0, 0.4), (0.7, 0.4), (0.1, 0.4), (1, 0.4), (0, 0.45)), um_per_s=300),
    Tour("loop", LOOP),
    Tour("loops", (*EIGHT, *EIGHT[1:]), um_per_s=250, drift=DRIFT),
    Tour("jump-back", ((0, 0), (0.4, 0), (1, 1), (0.7, 1), (0.1, 0), (0.4, 0.1)),
         frozenset({2, 4})),
    Tour("jump-meet", ((0, 0.2), (0.3, 0.2), (1, 0.9), (0.6, 0.9), (0.2, 0.25), (0, 0.2)),
         frozenset({2})),
    Tour("defocus", _rows(0, 1, 0.3, 0.55, 0.8), defocus=True),
    Tour("turned", (*_rows(0, 1, 0.2, 0.45), (0.8, 0.2), (0.3, 0.3)), angle_deg=2.0),
    Tour("everything", ((0, 0), (0.6, 0.1), (0.3, 0.9), (1, 0.95), (0.9, 0.1), (0.3, 0.1),
                        (0.2, 0.9), (0.6, 0.8)),
         frozenset({2, 6}), defocus=True, angle_deg=2.0, drift=DRIFT),
)  # fmt: skip


class TourPath:
    """The poses of a tour; it ends after ``frames`` of them.

    Args:
        tour: which.
        seed: draws how unevenly a hand moves, and the stretches out of focus.
        reach_um: how far the view can move in x and y.
        fps: frames per second.
    """

    def __init__(self, tour: Tour, seed: int, reach_um: Place, fps: float) -> None:
        rng = np.random.default_rng([seed, 0x70A2])
        self._tour, self._seed, self._fps = tour, seed, fps
        span = np.array(reach_um) - 2 * MARGIN_UM
        uneven = rng.normal(0, UNEVEN_UM, (len(tour.route), 2))
        at = np.clip(np.array(tour.route) * span + uneven, 0, span) + MARGIN_UM
        places = [(float(x), float(y)) for x, y in at]
        self._legs = Legs()
        for k in range(1, len(places)):
            speed = JUMP_UM_S if k in tour.jumps else tour.um_per_s
            self._legs.add(places[k - 1], places[k], STOP_S, speed)
        self.frames: int | None = int((self._legs.period_s + STOP_S) * fps)

    def pose(self, frame: int) -> Pose:
        """The pose at a frame number."""
        time_s = frame / self._fps
        x, y, moving = self._legs.at(time_s)
        blur = defocus_um(self._seed, time_s) if self._tour.defocus else 0.0
        light = 1 + self._tour.drift * float(np.sin(2 * np.pi * time_s / DRIFT_PERIOD_S))
        return Pose(x, y, blur, moving, self._tour.angle_deg, light)


def tour_slide(seed: int, crops: Path | None = None, size_um: Place = SLIDE_UM) -> Smear:
    """A dense marrow, composed once for all tours of a seed; a few seconds.

    Args:
        seed: of everything.
        crops: folder of class folders of real crops; None draws the cells.
        size_um: width and height.

    Raises:
        SourceError: the folder holds no usable crops.
    """
    from heme_edge.sim.compose import CELL, LARGE, Marrow, compose
    from heme_edge.sim.lens import Lens
    from heme_edge.sim.stock import Stock, stock_of

    rng = np.random.default_rng([seed, 0x70A1])
    stock, marrow = Stock({}), Marrow()
    if crops is not None:
        from heme_edge.sim.pasted import load_crops

        real = load_crops(crops)
        stock = stock_of(real.images(CROPS_PER_CLASS))
        marrow = Marrow(
            mix={code: share for code, share in real.mix().items() if code not in NOT_CELLS}
        )
    width, height = (round(side / SLIDE_UM_PER_PX) for side in size_um)
    field = compose(
        stock, rng, width_px=width, height_px=height, um_per_px=SLIDE_UM_PER_PX, marrow=marrow,
        lens=Lens(vignette=0.0, noise=0.0),
    )  # fmt: skip
    scale, listed = field.um_per_px, [c for c in field.cells if c.kind in (CELL, LARGE)]
    return Smear(field.image, scale, tuple(
        SlideCell(k, c.x_px * scale, c.y_px * scale, c.radius_px * scale, c.code)
        for k, c in enumerate(listed)
    ))  # fmt: skip
