"""Composed marrow fields, dense and messy, in which every cell's place is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.sim.crowd import Crowd, touching
from heme_edge.sim.ground import Window, cut_window, lay_ground
from heme_edge.sim.lens import Lens, in_view, photograph, through
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.shapes import NoiseBank
from heme_edge.sim.stock import (
    Item,
    Stock,
    can_draw,
    drawn_item,
    platelets,
    real_item,
    smudge,
)

Rng = np.random.Generator
CELL, CLUMP, LARGE, SMUDGE = "cell", "platelet-clump", "large", "smudge"
"""Kinds of what is composed: nucleated cells (mitoses too), heaps of platelets, megakaryocytes,
and smudges, which are neither a cell nor none."""
MEGAKARYOCYTE, MITOSIS = "PL2", "U4"
PRESSED_IN = 0.25
"""Chance that a cell lies on what is below instead of hiding it."""


@dataclass(frozen=True)
class Marrow:
    """What a field holds, per mm² unless said otherwise.

    Attributes:
        cells: nucleated cells.
        touching: chance that a cell is put against another.
        mix: share of each class; classes without a crop are drawn or left out.
        drawn: share of the cells that are drawn although there are crops.
        platelets, clumps, smudges, large, holes: single platelets, heaps of 4 to 30, smudged
            nuclei, megakaryocytes, fat holes.
        mitoses: share of the cells.
        thick: share of the field that is too thick to read.
    """

    cells: float = 1800.0
    touching: float = 0.6
    mix: Mapping[str, float] = field(default_factory=lambda: NORMAL_MARROW)
    drawn: float = 0.0
    platelets: float = 350.0
    clumps: float = 8.0
    smudges: float = 25.0
    large: float = 6.0
    holes: float = 12.0
    mitoses: float = 0.005
    thick: float = 0.0


@dataclass(frozen=True)
class ComposedCell:
    """One object whose centre is in the picture.

    Attributes:
        x_px, y_px: its centre.
        radius_px: of a circle as large.
        kind: ``cell``, ``platelet-clump``, ``large`` or ``smudge``.
        code: class code; empty for a smudge.
        touching: whether it touches another nucleated cell.
        thick: whether it lies where the field is too thick to read.
    """

    x_px: float
    y_px: float
    radius_px: float
    kind: str
    code: str
    touching: bool
    thick: bool


@dataclass(frozen=True)
class Composed:
    """A composed field.

    Attributes:
        image: RGB uint8 ``[H, W, 3]``.
        um_per_px: its scale.
        cells: everything that was put on it but platelets and red cells.
        thick: where it is too thick to read, bool ``[H, W]``.
    """

    image: Image
    um_per_px: float
    cells: tuple[ComposedCell, ...]
    thick: NDArray[np.bool_]

    def nucleated(self) -> list[ComposedCell]:
        """Nucleated cells, megakaryocytes included, where the field can be read."""
        return [c for c in self.cells if c.kind in (CELL, LARGE) and not c.thick]


def compose(
    stock: Stock,
    rng: Rng,
    *,
    width_px: int = 1920,
    height_px: int = 1080,
    um_per_px: float = 0.23,
    marrow: Marrow | None = None,
    lens: Lens | None = None,
    ground: int | None = None,
) -> Composed:
    """Composes a field; the same arguments and state of ``rng`` give the same one.

    Args:
        stock: cells and grounds.
        rng: draws everything.
        width_px, height_px, um_per_px: of the picture.
        marrow: what is in it.
        lens: how it is pictured.
        ground: number of the stock's ground; None draws one of them or a drawn one, by halves.
    """
    table = _Table(stock, rng, (height_px, width_px), um_per_px, marrow or Marrow())
    table.lay_ground(ground)
    table.lay_all()
    return table.pictured(lens or Lens())


class _Table:
    """A field while it is composed."""

    def __init__(
        self, stock: Stock, rng: Rng, shape: tuple[int, int], um_per_px: float, marrow: Marrow
    ) -> None:
        self._stock, self._rng, self._shape = stock, rng, shape
        self._um_per_px, self._marrow = um_per_px, marrow
        self._bank = NoiseBank(rng, um_per_px)
        self._size_um = shape[1] * um_per_px, shape[0] * um_per_px
        self._crowd = Crowd(*self._size_um, rng)
        self._canvas = np.ones((*shape, 3), np.float32)
        self._objects: list[tuple[float, float, float, str, str]] = []

    def lay_ground(self, number: int | None) -> None:
        grounds = self._stock.grounds
        if number is None and grounds and self._rng.random() < 0.5:
            number = int(self._rng.integers(len(grounds)))
        chosen = None if number is None else grounds[number]
        self._canvas = lay_ground(chosen, self._shape, self._um_per_px, self._rng)

    def lay_all(self) -> None:
        """Large things first, since room for them is rare."""
        marrow = self._marrow
        for _ in range(self._number(marrow.holes)):
            self._hole()
        for _ in range(self._number(marrow.large)):
            self._put(LARGE, MEGAKARYOCYTE, self._draw(MEGAKARYOCYTE))
        for _ in range(self._number(marrow.clumps)):
            heap = platelets(self._rng, self._bank, self._um_per_px, int(self._rng.integers(4, 31)))
            self._put(CLUMP, "PL3", heap)
        for _ in range(self._number(marrow.smudges)):
            self._put(SMUDGE, "", smudge(self._rng, self._bank, self._um_per_px))
        for code in self._codes():
            item = self._cell(code)
            if item is not None:
                self._put(CELL, code, item, self._rng.random() < marrow.touching)
        for _ in range(self._number(marrow.platelets)):
            self._platelet()

    def pictured(self, lens: Lens) -> Composed:
        thick = self._thicken()
        objects = self._objects
        xy = np.array([o[:2] for o in objects]).reshape(-1, 2) / self._um_per_px - 0.5
        seen = through(xy, self._shape, lens)
        kept = np.flatnonzero(in_view(seen, self._shape, lens))
        cells = [k for k, o in enumerate(objects) if o[3] in (CELL, LARGE)]
        close = np.zeros(len(objects), np.bool_)
        places = np.array([objects[k][:3] for k in cells]).reshape(-1, 3)
        close[cells] = touching(*places.T)
        image = photograph(self._canvas, self._um_per_px, lens, self._rng)
        return Composed(
            image,
            self._um_per_px,
            tuple(self._told(objects[k], seen[k], bool(close[k]), thick) for k in kept),
            thick,
        )

    def _told(
        self,
        one: tuple[float, float, float, str, str],
        spot: NDArray[np.float64],
        close: bool,
        thick: NDArray[np.bool_],
    ) -> ComposedCell:
        x, y = (
            int(np.clip(round(v), 0, n - 1)) for v, n in zip(spot, thick.shape[::-1], strict=True)
        )
        radius = one[2] / self._um_per_px
        return ComposedCell(
            float(spot[0]), float(spot[1]), radius, one[3], one[4], close, bool(thick[y, x])
        )

    def _number(self, per_mm2: float) -> int:
        return int(self._rng.poisson(per_mm2 * self._size_um[0] * self._size_um[1] / 1e6))

    def _codes(self) -> list[str]:
        """Classes of the nucleated cells, as the mix has them."""
        mix = {
            code: share
            for code, share in self._marrow.mix.items()
            if code in self._stock.cells or can_draw(code)
        }
        weights = np.array(list(mix.values()))
        count = self._number(self._marrow.cells)
        codes = self._rng.choice(list(mix), count, p=weights / weights.sum())
        mitoses = self._rng.random(count) < self._marrow.mitoses
        return [MITOSIS if m else str(code) for code, m in zip(codes, mitoses, strict=True)]

    def _cell(self, code: str) -> Item | None:
        """A real cell where there is one, else a drawn one where there is a recipe."""
        if can_draw(code) and self._rng.random() < self._marrow.drawn:
            return self._draw(code)
        item = real_item(self._stock, code, self._rng, self._um_per_px)
        return item or (self._draw(code) if can_draw(code) else None)

    def _draw(self, code: str) -> Item:
        return drawn_item(code, self._rng, self._bank, self._um_per_px)

    def _put(self, kind: str, code: str, item: Item, touch: bool = False) -> None:
        spot = self._crowd.place(item.radius_um, touching=touch, cell=kind in (CELL, LARGE))
        if spot is None:
            return
        at = np.array(spot) / self._um_per_px - 0.5
        snapped = np.round(at)  # an item's middle is a whole pixel
        self._lay(item, snapped)
        x_um, y_um = (snapped + 0.5) * self._um_per_px
        self._objects.append((float(x_um), float(y_um), item.radius_um, kind, code))

    def _lay(self, item: Item, at: NDArray[np.float64]) -> None:
        window = cut_window(self._canvas.shape, item.share.shape, at)
        if window is None:
            return
        below, share = self._canvas[window[0]], item.share[window[1]]
        mask = item.mask[window[1]][..., None]
        if not mask.any():
            below *= share
        elif self._rng.random() < PRESSED_IN:
            below *= 1 - mask + mask * share
        else:
            below += mask * (share - below)

    def _platelet(self) -> None:
        """A single platelet, anywhere: they lie on cells too."""
        one = real_item(self._stock, "PL", self._rng, self._um_per_px)
        if one is None or self._rng.random() < 0.5:
            one = platelets(self._rng, self._bank, self._um_per_px, 1)
        self._lay(
            one, np.round(self._rng.uniform(0, 1, 2) * np.array(self._shape[::-1], np.float64))
        )

    def _hole(self) -> None:
        """Where fat was: empty, round, with a faint dark rim."""
        radius = float(self._rng.uniform(12, 45))
        spot = self._crowd.place(radius, cell=False)
        if spot is None:
            return
        x, y = np.array(spot) / self._um_per_px
        reach = int(radius * 1.3 / self._um_per_px)
        window = _window(self._shape, x, y, reach)
        rows, columns = np.mgrid[window]
        turn, flat = self._rng.uniform(0, np.pi), self._rng.uniform(0.75, 1.0)
        u = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        v = ((rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)) / flat
        away = np.hypot(u, v) * self._um_per_px - radius * 0.95
        inside = np.clip(0.5 - away / 1.5, 0, 1)[..., None].astype(np.float32)
        rim = (0.12 * np.exp(-((away / 1.2) ** 2)))[..., None].astype(np.float32)
        part = self._canvas[window]
        part += inside * (1 - part)
        part *= 1 - rim

    def _thicken(self) -> NDArray[np.bool_]:
        """Lays the field over itself, several times, where it shall be too thick."""
        thick = np.zeros(self._shape, np.bool_)
        if self._marrow.thick <= 0:
            return thick
        coarse = self._rng.standard_normal(
            tuple(max(4, round(side * self._um_per_px / 12)) for side in self._shape),
            dtype=np.float32,
        )
        smooth = cv2.GaussianBlur(coarse, (0, 0), 2.0)
        plane = cv2.resize(smooth, self._shape[::-1], interpolation=cv2.INTER_CUBIC)
        level = np.quantile(plane, 1 - min(self._marrow.thick, 0.95))
        spread = float(plane.std()) or 1.0
        amount = np.clip((plane - level) / (0.25 * spread) + 0.5, 0, 1)[..., None]
        layers = self._canvas.copy()
        for _ in range(int(self._rng.integers(2, 5))):
            shift = self._rng.integers(20, 200, 2)
            layers *= np.roll(self._canvas[:: self._flip(), :: self._flip()], shift, (0, 1))
        blurred = cv2.GaussianBlur(layers, (0, 0), self._rng.uniform(0.3, 1.2) / self._um_per_px)
        self._canvas += amount.astype(np.float32) * (blurred - self._canvas)
        return np.asarray(amount[..., 0] > 0.5, np.bool_)

    def _flip(self) -> int:
        return int(self._rng.choice([-1, 1]))


def _window(shape: tuple[int, int], x: float, y: float, reach: int) -> Window:
    return (
        slice(max(0, int(y) - reach), min(shape[0], int(y) + reach + 1)),
        slice(max(0, int(x) - reach), min(shape[1], int(x) + reach + 1)),
    )
