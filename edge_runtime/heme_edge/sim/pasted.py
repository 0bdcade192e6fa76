"""Real single-cell crops on the drawn slide, in place of drawn cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heme_edge.crops import CROP_UM_PER_PX, Image
from heme_edge.errors import HemeError, PhotoError, SourceError
from heme_edge.sim.cells import Patch
from heme_edge.sim.cutting import cut_out
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.slide import SLIDE_UM_PER_PX

PER_CLASS = 400
"""At most so many crops of a class are considered."""
RARE = 0.5
"""Share, in per cent, of a class that the normal marrow does not list."""


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

    def images(self, per_class: int) -> Iterator[tuple[str, Image]]:
        """Code and picture of up to ``per_class`` crops of each class; unreadable ones left out."""
        from heme_edge.photos import read_photo

        for code, files in self.files.items():
            for path in files[:: max(1, len(files) // per_class)][:per_class]:
                with suppress(PhotoError):
                    yield code, read_photo(path)


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

    cut = cut_out(crop)
    share = 1 - cut.mask[..., None] / np.float32(255) * (1 - cut.share / np.float32(255))
    side = round(share.shape[0] * CROP_UM_PER_PX / um_per_px) // 2 * 2 + 1
    resized = cv2.resize(share.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    return Patch(np.asarray(resized, np.float32), cut.radius_um)
