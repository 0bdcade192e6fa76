"""``heme-export optics``: the training data's background and stain into a bundle that is there."""

from __future__ import annotations

from pathlib import Path

import click

from heme_edge.cli_support import data_option


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="split.csv of the training run, where --data tells no roles.")  # fmt: skip
def optics(bundle: Path, data: Path, split: Path | None) -> None:
    """Add the training crops' background and stain to BUNDLE; its other contents stay.

    `heme-edge --optics` maps a camera's white to it, and the drift meter compares with it.
    """
    from heme_export.optics import add_optics
    from heme_train.data import open_crops
    from heme_train.split import read_split

    crops = open_crops(data)
    table = add_optics(bundle, read_split(split, crops) if split else crops).info.optics
    click.echo(f"{bundle}: background {table['white_rgb']}, from {table['crops']} crops of "
               f"{', '.join(table['stain'])}")  # fmt: skip
