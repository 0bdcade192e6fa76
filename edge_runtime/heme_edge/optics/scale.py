"""µm per pixel of a camera: from red cells, from a stage micrometer, or from its objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.errors import OpticsError
from heme_edge.optics.micrometer import measured_spacing
from heme_edge.optics.red_cells import RedCell, red_cells
from heme_edge.optics.unusable import OUT_OF_FOCUS, why_no_cells

LEAST_UM_PER_PX, MOST_UM_PER_PX = 0.05, 1.0
LEAST_CELLS = 8
RED_CELLS_VARY = 0.2
"""Half of the 95 % interval however many cells: healthy people's mean red cells differ by 8 %, but
those of 57 single fields of diseased blood by 20 % (95th percentile)."""
OBJECTIVE_VARIES = 0.05
"""The same for an objective: magnifications are nominal, of tube lens and adapter too."""
KERNEL = 0.12
NEAR = 0.25
"""In ln of the diameter: of one peak of the sizes, and of red cells around its middle."""
LEAST_SHARPNESS = 3.2
"""Diameter over the width of the edge; sharp red cells have 4 to 8."""
OTHER_WAYS = "Use a stage micrometer or the objective's magnification, or give --um-per-px."


@dataclass(frozen=True)
class Scale:
    """How many µm one pixel is.

    Attributes:
        um_per_px: the scale.
        low95, high95: its 95 % interval, µm/px.
        source: "red-cells", "micrometer" or "objective".
        cells: red cells or divisions measured; 0 for "objective".
    """

    um_per_px: float
    low95: float
    high95: float
    source: str
    cells: int


def scale_from_red_cells(images: Sequence[Image], red_cell_um: float = 7.5) -> Scale:
    """Scale of a camera from the red cells of one or several of its fields.

    Args:
        images: RGB uint8 ``[H, W, 3]``, all through the same optics; a red cell may be 7.5 to
            150 px across.
        red_cell_um: diameter of a normal red cell on a smear; 7.5 µm in man.

    Raises:
        OpticsError: no field has enough red cells that are round, separate and in focus, or the
            scale would be outside 0.05 to 1.0 µm/px.
    """
    if not images:
        raise OpticsError("There is no picture to measure red cells in.", OTHER_WAYS)
    middle_px = _commonest_px([cell for image in images for cell in red_cells(image)])
    cells = [cell for image in images for cell in red_cells(image, middle_px)] if middle_px else []
    sizes, sharpness = _of_one_size(cells, middle_px)
    blurred = sharpness < LEAST_SHARPNESS
    if sizes.size < LEAST_CELLS:
        raise OpticsError(why_no_cells(images, sizes.size, LEAST_CELLS, blurred), OTHER_WAYS)
    if blurred:
        raise OpticsError(OUT_OF_FOCUS, f"Focus on the cells. {OTHER_WAYS}")
    diameter = float(np.median(sizes))
    error = 1.96 * float(np.std(np.log(sizes), ddof=1)) / np.sqrt(sizes.size)
    return _scale(
        red_cell_um / diameter, float(np.hypot(RED_CELLS_VARY, error)), "red-cells", sizes.size
    )


def scale_from_micrometer(image: Image, division_um: float = 10.0) -> Scale:
    """Scale of a camera from a photo of a stage micrometer, at any angle.

    Args:
        image: RGB uint8 ``[H, W, 3]``; at least five lines, at least 4 px apart.
        division_um: from one line to the next.

    Raises:
        OpticsError: no evenly spaced parallel lines, or a scale outside 0.05 to 1.0 µm/px.
    """
    spacing = measured_spacing(image)
    share = 1.96 * spacing.error_px / spacing.period_px
    return _scale(division_um / spacing.period_px, share, "micrometer", spacing.divisions)


def scale_from_objective(magnification: float, pixel_um: float, adapter: float = 1.0) -> Scale:
    """Scale from what stands on the parts: pixel pitch / (objective x adapter).

    Args:
        magnification: of the objective, such as 40.
        pixel_um: pitch of the sensor's pixels, µm.
        adapter: magnification between objective and sensor, such as 0.5.

    Raises:
        OpticsError: a number that is not positive, or a scale outside 0.05 to 1.0 µm/px.
    """
    if not min(magnification, pixel_um, adapter) > 0:
        raise OpticsError(
            "Magnification, pixel pitch and adapter must be more than 0.",
            "Read them off the objective, the camera's data sheet and the adapter.",
        )
    return _scale(pixel_um / (magnification * adapter), OBJECTIVE_VARIES, "objective", 0)


def _commonest_px(cells: list[RedCell]) -> float:
    """The diameter (px) that covers most of the field; 0 without a cell.

    Near a border of its octave that is a few per cent off: some of the sizes are not seen there.
    """
    if not cells:
        return 0.0
    size = np.log([cell.diameter_px for cell in cells])
    octave = np.array([cell.octave for cell in cells])
    peaks = [_peak(size[octave == one], _shares(cells, one)) for one in np.unique(octave)]
    return float(np.exp(max(peaks)[1]))


def _of_one_size(cells: list[RedCell], about_px: float) -> tuple[NDArray[np.float64], float]:
    """Diameters (px) around a size, and the sharpness of those cells."""
    if not cells:
        return np.zeros(0), 0.0
    size, middle = np.log([cell.diameter_px for cell in cells]), float(np.log(about_px))
    for _ in range(4):
        own = np.abs(size - middle) < NEAR
        middle = float(np.median(size[own])) if own.any() else middle
    sharp = np.array([cell.sharpness for cell in cells])[own]
    return np.exp(size[own]), float(np.median(sharp)) if sharp.size else 0.0


def _shares(cells: list[RedCell], octave: int) -> NDArray[np.float64]:
    return np.array([cell.share for cell in cells if cell.octave == octave])


def _peak(size: NDArray[np.float64], share: NDArray[np.float64]) -> tuple[float, float]:
    """How much of the field the commonest size (ln px) of one octave covers, and that size."""
    covered = [float(share[np.abs(size - one) < KERNEL].sum()) for one in size]
    best = int(np.argmax(covered))
    return covered[best], float(size[best])


def _scale(um_per_px: float, share: float, source: str, cells: int) -> Scale:
    """The scale with an interval of ± ``share``.

    Raises:
        OpticsError: outside what can be a field of cells.
    """
    if not LEAST_UM_PER_PX <= um_per_px <= MOST_UM_PER_PX:
        raise OpticsError(
            f"The scale would be {um_per_px:.3g} µm/px, outside"
            f" {LEAST_UM_PER_PX} to {MOST_UM_PER_PX:.1f}.",
            "Check the given size and the objective, or give --um-per-px.",
        )
    low, high = um_per_px / (1 + share), um_per_px * (1 + share)
    return Scale(um_per_px, low, high, source, cells)
