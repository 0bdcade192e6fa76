"""Measuring an optics profile from pictures: ``heme-calibrate optics``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heme_edge.crops import Image
from heme_edge.errors import OpticsError, PhotoError
from heme_edge.optics.apply import Corrector
from heme_edge.optics.flat_field import gains_from_blanks, gains_from_fields
from heme_edge.optics.profile import (
    GRID,
    Gains,
    OpticsProfile,
    RoundField,
)
from heme_edge.optics.round_field import round_field_of, seen_blocks
from heme_edge.optics.scale import (
    Scale,
    scale_from_micrometer,
    scale_from_objective,
    scale_from_red_cells,
)
from heme_edge.optics.white import check_light, is_overexposed, white_point
from heme_edge.photos import find_photos, read_as_recorded

FEW = 5
"""With fewer fields the flat field is only as good as the background between their cells."""
BLANK_CLIPPED = 0.02
Say = Callable[[str], None]


@dataclass(frozen=True)
class ScaleRequest:
    """How µm/px shall be known; the first that is given wins, and red cells where none is.

    Attributes:
        um_per_px: given by the user.
        micrometer: a photo of a stage micrometer whose lines are ``division_um`` apart.
        objective: magnification, with the sensor's ``pixel_um`` and the ``adapter`` between.
        red_cell_um: diameter of a red cell.
    """

    um_per_px: float | None = None
    micrometer: Path | None = None
    division_um: float = 10.0
    objective: float | None = None
    pixel_um: float | None = None
    adapter: float = 1.0
    red_cell_um: float = 7.5


def measure_profile(
    images: Sequence[Image], blanks: Sequence[Image], wanted: ScaleRequest, say: Say
) -> OpticsProfile:
    """The profile of the camera that took ``images``.

    Args:
        images: fields, RGB uint8 as the sensor recorded them, all of one shape.
        blanks: fields without a cell, of the same shape; may be empty.
        wanted: how the scale shall be known.
        say: told what is worth knowing.

    Raises:
        OpticsError: the pictures are black, overexposed or of different shapes, or the scale
            cannot be known from them.
    """
    images = check_light(_alike(images))
    field = round_field_of(images)
    gains = _flat_field(images, _good_blanks(images, blanks), field, say)
    height, width = images[0].shape[:2]
    profile = OpticsProfile(
        1.0, 1.0, 1.0, "", (255.0, 255.0, 255.0), gains, field, width, height,
        created=datetime.date.today().isoformat(),
    )  # fmt: skip
    flat = [Corrector(profile).correct(image) for image in images]
    scale = _scale(flat, wanted, say)
    return replace(
        profile,
        white_rgb=white_point(flat),
        um_per_px=scale.um_per_px,
        um_per_px_low95=scale.low95,
        um_per_px_high95=scale.high95,
        um_per_px_source=scale.source,
        objective=f"{wanted.objective:g}x" if wanted.objective else "",
    )


def _alike(images: Sequence[Image]) -> Sequence[Image]:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{s[1]}x{s[0]}" for s in shapes))
        raise OpticsError(
            f"The pictures are of different sizes ({sizes} px).",
            "Give pictures of one camera in one setting; make a profile for each",
        )
    return images


def _good_blanks(images: Sequence[Image], blanks: Sequence[Image]) -> Sequence[Image]:
    if not blanks:
        return blanks
    if {b.shape for b in blanks} != {images[0].shape}:
        raise OpticsError(
            "The blank pictures have another size than the fields.",
            "Take both with one camera in one setting",
        )
    good = check_light(blanks)
    if any(is_overexposed(blank, BLANK_CLIPPED) for blank in good):
        raise OpticsError(
            "A blank picture is overexposed, so that its fall-off cannot be seen.",
            "Shorten the exposure until no part of it is white",
        )
    return good


def _flat_field(
    images: Sequence[Image], blanks: Sequence[Image], field: RoundField | None, say: Say
) -> Gains:
    height, width = images[0].shape[:2]
    seen = seen_blocks(field, width / height)
    if blanks:
        return gains_from_blanks(blanks, seen)
    gains = gains_from_fields(images, seen)
    if gains is None:
        say("Flat field: too little empty background to measure it; the light is taken as even.")
        return np.ones((*GRID, 3), np.float32)
    if len(images) < FEW:
        say(f"Flat field: from {len(images)} field(s) only. Give {FEW} or more, or --blank.")
    return gains


def _scale(images: Sequence[Image], wanted: ScaleRequest, say: Say) -> Scale:
    known = _known_scale(wanted)
    if known is None:
        return scale_from_red_cells(images, wanted.red_cell_um)
    try:
        cells = scale_from_red_cells(images, wanted.red_cell_um)
    except OpticsError as error:
        say(f"Red cells could not confirm the scale: {error.message}")
    else:
        if not cells.low95 <= known.um_per_px <= cells.high95:
            say(
                f"Red cells disagree: they give {cells.um_per_px:.3g} µm/px "
                f"({cells.low95:.3g}-{cells.high95:.3g}), {known.source} gives "
                f"{known.um_per_px:.3g}, which is used."
            )
    return known


def _known_scale(wanted: ScaleRequest) -> Scale | None:
    """From what does not depend on the patient: the user, a micrometer, or the objective."""
    if wanted.um_per_px is not None:
        return Scale(wanted.um_per_px, wanted.um_per_px, wanted.um_per_px, "given", 0)
    if wanted.micrometer is not None:
        try:
            image = read_as_recorded(wanted.micrometer)
        except PhotoError as error:
            raise OpticsError(
                f"The micrometer photo '{wanted.micrometer}' {error.message}."
            ) from error
        return scale_from_micrometer(image, wanted.division_um)
    if wanted.objective is None:
        return None
    if wanted.pixel_um is None:
        raise OpticsError(
            "The objective alone does not tell the scale.",
            "--pixel-um, the size of the sensor's pixels from the camera's data sheet",
        )
    return scale_from_objective(wanted.objective, wanted.pixel_um, wanted.adapter)


def read_pictures(path: Path, most: int) -> list[Image]:
    """The readable photos of a folder (at most ``most``, from all over it), or of one file.

    Raises:
        OpticsError: there is none.
    """
    files = find_photos(path) if path.is_dir() else [path]
    step = max(1, len(files) // most)
    images, problems = [], []
    for file in files[::step][:most]:
        try:
            images.append(read_as_recorded(file))
        except PhotoError as error:
            problems.append(f"{file.name} {error.message}")
    if not images:
        raise OpticsError(
            f"There is no readable photo in '{path}'{': ' if problems else ''}"
            f"{'; '.join(problems[:1])}.",
            "Photos are .jpg, .png, .tif, .bmp or .webp",
        )
    return images
