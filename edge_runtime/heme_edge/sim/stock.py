"""What fields are composed from: cells cut out of real crops, drawn cells, red-cell grounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.sim.cells import Patch, draw_cell, draw_platelet
from heme_edge.sim.cutting import CutCell, cut_out
from heme_edge.sim.ground import Ground
from heme_edge.sim.palette import CHROMATIN, Field, transmission
from heme_edge.sim.recipes import RECIPES, STAGES
from heme_edge.sim.shapes import NoiseBank, blur, cover, make_grid, wavy_distance

Rng = np.random.Generator


@dataclass(frozen=True)
class Item:
    """Something to lay on a field, at the field's scale; its middle pixel is its centre.

    Attributes:
        share: light that comes through, float32 ``[n, n, 3]`` in 0..1.
        mask: what it hides of what lies below, float32 ``[n, n]``; 0 where it is clear.
        radius_um: of a circle as large.
    """

    share: Field
    mask: Field
    radius_um: float


@dataclass(frozen=True)
class Stock:
    """Cells and grounds to compose from.

    Attributes:
        cells: cut cells by class code.
        grounds: real fields of red cells; may be empty.
        left_out: crops whose outline was not that of one whole cell.
    """

    cells: dict[str, tuple[CutCell, ...]]
    grounds: tuple[Ground, ...] = ()
    left_out: int = 0

    @property
    def count(self) -> int:
        """Cut cells there are."""
        return sum(map(len, self.cells.values()))


def stock_of(crops: Iterable[tuple[str, Image]], grounds: Iterable[Ground] = ()) -> Stock:
    """Cuts the cells out of crops.

    Args:
        crops: class code and RGB uint8 ``[H, W, 3]`` at 0.25 µm/px of each.
        grounds: real fields of red cells.
    """
    cells: dict[str, list[CutCell]] = {}
    left_out = 0
    for code, crop in crops:
        cut = cut_out(crop)
        if cut.clean:
            cells.setdefault(code, []).append(cut)
        else:
            left_out += 1
    return Stock({code: tuple(some) for code, some in cells.items()}, tuple(grounds), left_out)


def real_item(stock: Stock, code: str, rng: Rng, um_per_px: float) -> Item | None:
    """A real cell of a class, turned and mirrored by chance; None where there is none."""
    some = stock.cells.get(code)
    if not some:
        return None
    cut = some[int(rng.integers(len(some)))]
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    share, mask = (_turned(plane, turns, mirrored) for plane in (cut.share, cut.mask))
    side = round(share.shape[0] * CROP_UM_PER_PX / um_per_px / 2) * 2 + 1
    how = cv2.INTER_AREA if um_per_px > CROP_UM_PER_PX else cv2.INTER_LINEAR
    size = (side, side)
    return Item(
        cv2.resize(share, size, interpolation=how).astype(np.float32) / np.float32(255),
        cv2.resize(mask, size, interpolation=how).astype(np.float32) / np.float32(255),
        cut.radius_um,
    )


def _turned(plane: Image, turns: int, mirrored: bool) -> Image:
    turned = np.rot90(plane, turns)
    return np.ascontiguousarray(turned[::-1] if mirrored else turned)


def drawn_item(code: str, rng: Rng, bank: NoiseBank, um_per_px: float) -> Item:
    """A drawn cell of a class that `RECIPES` or `STAGES` lists; it hides what is below."""
    patch = draw_cell(code, rng, bank, um_per_px)
    return Item(patch.share, _hiding(patch, um_per_px), patch.radius_um)


def can_draw(code: str) -> bool:
    """Whether there is a recipe for the class."""
    return code in RECIPES or code in STAGES


def _hiding(patch: Patch, um_per_px: float) -> Field:
    grid = make_grid((patch.share.shape[0] // 2 - 0.5) * um_per_px, um_per_px)
    density = blur(1 - patch.share.min(axis=2), 0.4, um_per_px)
    near = cover(np.hypot(grid.x, grid.y) - np.float32(patch.radius_um * 1.15), 2.0)
    return np.asarray(np.clip(density * 8, 0, 1) * near, np.float32)


def platelets(rng: Rng, bank: NoiseBank, um_per_px: float, count: int) -> Item:
    """``count`` platelets in a heap; they let through what is below."""
    reach = 2.0 + 1.3 * float(np.sqrt(count))
    grid = make_grid(reach + 4.0, um_per_px)
    share = np.ones((grid.side, grid.side, 3), np.float32)
    for _ in range(count):
        one = draw_platelet(rng, bank, um_per_px).share
        away, turn = reach * np.sqrt(rng.uniform(0, 1)) * (count > 1), rng.uniform(0, 2 * np.pi)
        x, y = (round(away * f(turn) / um_per_px) + grid.middle - one.shape[0] // 2
                for f in (np.cos, np.sin))  # fmt: skip
        x, y = (int(np.clip(v, 0, grid.side - one.shape[0])) for v in (x, y))
        share[y : y + one.shape[0], x : x + one.shape[0]] *= one
    return Item(share, np.zeros(share.shape[:2], np.float32), reach + 1.0)


def smudge(rng: Rng, bank: NoiseBank, um_per_px: float) -> Item:
    """A smudged nucleus: pale, frayed, without cytoplasm (Gumprecht's shadow)."""
    radius = float(rng.uniform(4.0, 11.0))
    grid = make_grid(radius * 1.5 + 2, um_per_px)
    edge = wavy_distance(grid, radius, 0.22, rng)
    uneven = 1 + 0.35 * bank.cut(rng, grid.side, 1.4) + 0.25 * bank.cut(rng, grid.side, 3.0)
    amount = cover(edge, float(rng.uniform(1.5, 5.0))) * uneven * np.float32(rng.uniform(0.2, 0.6))
    share = transmission(np.maximum(amount, 0)[..., None] * CHROMATIN)
    return Item(share, np.zeros(share.shape[:2], np.float32), radius)
