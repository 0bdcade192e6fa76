"""``heme-calibrate optics``: a thin command over ``heme_edge.optics``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.cli_support import note

if TYPE_CHECKING:
    from heme_edge.crops import Image

MOST_FIELDS = 24
_photo = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--camera", metavar="SRC", help="Camera, stream, video or sim, as in heme-edge live: "
              "keep the stage moving over the smear.")  # fmt: skip
@click.option("--photos", type=click.Path(exists=True, path_type=Path), metavar="DIR",
              help="Fields taken with this camera and objective.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="File for the profile; heme-edge --optics takes it.")  # fmt: skip
@click.option("--red-cell-um", type=click.FloatRange(2.0, 15.0), default=7.5, show_default=True,
              help="Diameter of a red cell.")  # fmt: skip
@click.option("--micrometer", type=_photo, help="Photo of a stage micrometer.")
@click.option("--division-um", type=click.FloatRange(1.0, 1000.0), default=10.0,
              show_default=True, help="Between the micrometer's lines.")  # fmt: skip
@click.option("--objective", type=click.FloatRange(1.0, 200.0), help="Magnification, such as 40.")
@click.option("--pixel-um", type=click.FloatRange(0.3, 30.0), help="Size of a pixel of the sensor.")
@click.option("--adapter", type=click.FloatRange(0.05, 20.0), default=1.0, show_default=True,
              help="Magnification of the camera adapter.")  # fmt: skip
@click.option("--um-per-px", type=click.FloatRange(0.05, 1.0), help="Where you know the scale.")
@click.option("--blank", type=click.Path(exists=True, path_type=Path), metavar="DIR_OR_PHOTO",
              help="Photos of a place without cells: the best flat field.")  # fmt: skip
@click.option("--name", default="", help="For you: which microscope this is.")
def optics(
    camera: str | None, photos: Path | None, out: Path, blank: Path | None, name: str,
    **scale: Any,
) -> None:  # fmt: skip
    """Measure scale, white point, flat field and field of view of a camera; write a profile."""
    from heme_edge.optics.measure import ScaleRequest, measure_profile, read_pictures
    from heme_edge.optics.profile import save_profile
    from heme_edge.optics.report import lines

    if (camera is None) == (photos is None):
        raise click.UsageError("Give either --camera SRC or --photos DIR.")
    images = _watched(camera) if camera else read_pictures(photos or Path(), MOST_FIELDS)
    blanks = read_pictures(blank, MOST_FIELDS) if blank else []
    profile = measure_profile(images, blanks, ScaleRequest(**scale), note)
    save_profile(replace(profile, name=name, camera=camera or str(photos)), out)
    for line in lines(profile, len(images)):
        click.echo(line)
    click.echo(f"Profile: {out}. {RESEARCH_USE_ONLY}")


def _watched(camera: str) -> list[Image]:
    from heme_edge.frames import open_source
    from heme_edge.optics.watch import EVERY_S, watch

    source = open_source(camera)
    if source.live:
        note(f"Looking for {MOST_FIELDS * EVERY_S:.0f} s: keep the stage moving over the smear.")
    try:
        return watch(source, MOST_FIELDS)
    finally:
        source.close()
