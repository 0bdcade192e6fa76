"""A drawn marrow smear: where the cells lie, and its picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heme_edge.crops import Image
from heme_edge.sim import palette
from heme_edge.sim.cells import Patch, draw_cell, draw_platelet, draw_red_cell
from heme_edge.sim.palette import Field, lay_over
from heme_edge.sim.place import Placer
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.shapes import NoiseBank

SLIDE_UM_PER_PX = 0.2
CELLS_PER_MM2 = 800.0
RED_CELLS_PER_MM2 = 7000.0
PLATELETS_PER_MM2 = 350.0
RED_CELL_VARIANTS = 96
Draw = Callable[[str, np.random.Generator], Patch]


@dataclass(frozen=True)
class SlideCell:
    """One cell that is really there.

    Attributes:
        id: its number on the slide, from 0.
        x_um, y_um: its centre, µm from the centre of the slide picture's first pixel.
        radius_um: of a circle as large as the whole cell.
        code: its class.
    """

    id: int
    x_um: float
    y_um: float
    radius_um: float
    code: str


@dataclass(frozen=True)
class Smear:
    """A slide with what is on it.

    Attributes:
        image: RGB uint8 ``[H, W, 3]``.
        um_per_px: scale of ``image``.
        cells: nucleated cells, then platelets (``PL``); red cells are not listed.
    """

    image: Image
    um_per_px: float
    cells: tuple[SlideCell, ...]


def draw_smear(
    seed: int,
    *,
    width_um: float = 1100.0,
    height_um: float = 850.0,
    um_per_px: float = SLIDE_UM_PER_PX,
    cells_per_mm2: float = CELLS_PER_MM2,
    mix: dict[str, float] | None = None,
    draw: Draw | None = None,
) -> Smear:
    """Draws a smear; the same arguments give the same picture and cells.

    Args:
        seed: of everything.
        width_um, height_um: size.
        um_per_px: scale to draw at; crops want 0.25 or finer.
        cells_per_mm2: nucleated cells; about 1,700 is a dense field.
        mix: share of each class, any unit; a normal marrow by default.
        draw: gives the cell of a code instead of the drawn one (pasted from real crops).

    Returns:
        The picture and its nucleated cells and platelets. Cells may touch but do not overlap,
        and lie wholly inside.
    """
    rng = np.random.default_rng([seed, 0x51DE])
    bank = NoiseBank(rng, um_per_px)
    draw = draw or (lambda code, rng: draw_cell(code, rng, bank, um_per_px))
    image = _empty(width_um, height_um, um_per_px, rng)
    placer = Placer(width_um, height_um, um_per_px, rng)
    mm2 = width_um * height_um / 1e6
    cells: list[SlideCell] = []
    for code in _codes(mix or NORMAL_MARROW, round(cells_per_mm2 * mm2), rng):
        _put(image, cells, placer, code, draw(code, rng), um_per_px)
    for _ in range(round(PLATELETS_PER_MM2 * mm2)):
        _put(image, cells, placer, "PL", draw_platelet(rng, bank, um_per_px), um_per_px)
    reds = [draw_red_cell(rng, bank, um_per_px) for _ in range(RED_CELL_VARIANTS)]
    for _ in range(round(RED_CELLS_PER_MM2 * mm2)):
        _put_red(image, placer, reds[rng.integers(len(reds))], um_per_px, rng)
    return Smear(image, um_per_px, tuple(cells))


def _codes(mix: dict[str, float], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` codes in the proportions of ``mix`` as near as whole cells allow, shuffled."""
    whole = sum(mix.values())
    exact = {code: count * share / whole for code, share in mix.items()}
    codes = [code for code, number in exact.items() for _ in range(int(number))]
    by_rest = sorted(exact, key=lambda code: exact[code] % 1, reverse=True)
    codes += by_rest[: count - len(codes)]
    return [codes[i] for i in rng.permutation(len(codes))]


def _put(
    image: Image, cells: list[SlideCell], placer: Placer, code: str, patch: Patch, um_per_px: float
) -> None:
    """Places one cell; one that finds no room is left out."""
    spot = placer.find(patch.radius_um)
    if spot is None:
        return
    _stamp(image, patch.share, spot)
    x_um, y_um = spot[0] * um_per_px, spot[1] * um_per_px
    cells.append(SlideCell(len(cells), x_um, y_um, patch.radius_um, code))


def _put_red(
    image: Image, placer: Placer, patch: Patch, um_per_px: float, rng: np.random.Generator
) -> None:
    spot = placer.find_red(patch.radius_um)
    if spot is not None:
        turned = np.ascontiguousarray(np.rot90(patch.share, int(rng.integers(4))))
        _stamp(image, turned, spot)


def _stamp(image: Image, share: Field, spot: tuple[int, int]) -> None:
    half = share.shape[0] // 2
    lay_over(image, share, spot[0] - half, spot[1] - half)


def _empty(width_um: float, height_um: float, um_per_px: float, rng: np.random.Generator) -> Image:
    """The slide before any cell: lamp colour with a faint uneven film of plasma."""
    import cv2

    size = round(width_um / um_per_px), round(height_um / um_per_px)
    coarse = (max(4, round(height_um / 12)), max(4, round(width_um / 12)))
    film = np.abs(rng.standard_normal(coarse, dtype=np.float32))
    film = np.asarray(cv2.GaussianBlur(film, (0, 0), 1.2), np.float32)
    share = palette.transmission(film[..., None] * palette.PLASMA)
    colour = np.rint(share * np.array(palette.BACKGROUND, np.float32)).astype(np.uint8)
    return np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_CUBIC), np.uint8)
