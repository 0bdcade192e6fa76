"""Real single-cell crops on the drawn slide, in place of drawn cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.errors import HemeError, PhotoError, SourceError
from heme_edge.sim.cells import Patch
from heme_edge.sim.palette import Field
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.slide import SLIDE_UM_PER_PX

PER_CLASS = 400
"""At most so many crops of a class are considered."""
RARE = 0.5
"""Share, in per cent, of a class that the normal marrow does not list."""
STAINED = 0.16
"""Summed density (R + G + B) from which a pixel is not empty slide."""
CELL_REACH_UM = 11.0
OPENING_PX = 21
"""Pieces of neighbouring red cells thinner than this (5 µm) are cut away."""


@dataclass(frozen=True)
class RealCrops:
    """Crop files by class code.

    Attributes:
        files: code to paths, sorted.
    """

    files: dict[str, tuple[Path, ...]]

    def mix(self) -> dict[str, float]:
        """Share of each class: a normal marrow as far as there are crops."""
        return {code: NORMAL_MARROW.get(code, RARE) for code in self.files}

    def draw(self, code: str, rng: np.random.Generator) -> Patch:
        """One cell of a class, cut from a crop drawn by chance and turned by quarters.

        Raises:
            SourceError: none of ten crops tried could be read.
        """
        from heme_edge.photos import read_photo

        files = self.files[code]
        for _ in range(10):
            path = files[int(rng.integers(len(files)))]
            try:
                crop = read_photo(path)
            except PhotoError:
                continue
            turned = np.rot90(crop, int(rng.integers(4)))
            return cut_cell(np.ascontiguousarray(turned))
        raise SourceError(
            f"The crops of class {code} in {files[0].parent} cannot be read.",
            "Give --sim-crops a folder of class folders with JPEG or PNG crops.",
        )


def load_crops(folder: Path) -> RealCrops:
    """Finds the crops below ``folder`` whose own folder is named as a known class code.

    Raises:
        SourceError: there is no such folder, or no crop in it.
    """
    from heme_edge.photos import find_photos

    hint = "Make one folder per class code (M1, M6, ER …) with 24-32 µm crops at 0.25 µm/px in it."
    if not folder.is_dir():
        raise SourceError(f"The crop folder {folder} does not exist.", hint)
    files: dict[str, list[Path]] = {}
    for path in find_photos(folder):
        code = _code(path.parent.name)
        if code:
            files.setdefault(code, []).append(path)
    if not files:
        raise SourceError(f"The crop folder {folder} holds no crops in class folders.", hint)
    return RealCrops({code: _thinned(paths) for code, paths in sorted(files.items())})


def _code(name: str) -> str:
    """The class code that a folder is named after, or empty."""
    from heme_edge.cells import cell_class

    try:
        return cell_class(name).code
    except HemeError:
        return ""


def _thinned(paths: list[Path]) -> tuple[Path, ...]:
    return tuple(paths[:: max(1, len(paths) // PER_CLASS)])


def cut_cell(crop: Image, um_per_px: float = SLIDE_UM_PER_PX) -> Patch:
    """The cell in the middle of a crop, freed of its background.

    Args:
        crop: RGB uint8 at 0.25 µm/px, the whole cell in the centre.
        um_per_px: scale of the slide.

    Returns:
        What comes through the cell relative to the crop's own background colour, so that it
        takes on the colour of the slide it is laid on.
    """
    import cv2

    background = np.percentile(crop.reshape(-1, 3), 92, axis=0).astype(np.float32)
    share: Field = np.clip(crop.astype(np.float32) / np.maximum(background, 1), 0.01, 1.0)
    mask = _cell_mask(-np.log10(share).sum(2))
    soft = cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]
    share = 1 - soft * (1 - share)
    side = round(crop.shape[0] * CROP_UM_PER_PX / um_per_px) // 2 * 2 + 1
    resized = cv2.resize(share.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    area_um2 = float(mask.sum()) * CROP_UM_PER_PX**2
    return Patch(np.asarray(resized, np.float32), float(np.sqrt(area_um2 / np.pi)))


def _cell_mask(density: Field) -> Field:
    """The stained piece in the middle, 0 or 1; a plain disc where none can be made out."""
    import cv2

    height, width = density.shape
    rows, columns = np.mgrid[:height, :width]
    away_um = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) * CROP_UM_PER_PX
    reach_um = min(CELL_REACH_UM, (min(height, width) / 2 - 3) * CROP_UM_PER_PX)
    stained = ((density > STAINED) & (away_um < reach_um)).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (OPENING_PX, OPENING_PX))
    opened = cv2.morphologyEx(stained, cv2.MORPH_OPEN, disc)
    _, labels = cv2.connectedComponents(opened)
    middle = labels[away_um < 2.0]
    label = int(np.bincount(middle).argmax()) if middle.size else 0
    if label == 0:
        return np.asarray(away_um < reach_um * 0.7, np.float32)
    cell = cv2.dilate((labels == label).astype(np.uint8), np.ones((3, 3), np.uint8))
    outline, _ = cv2.findContours(cell, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(cell, outline, -1, (1,), cv2.FILLED), np.float32)
