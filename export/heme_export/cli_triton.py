"""``heme-export triton``: a bundle as a model repository, without torch."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, metavar="REPO",
    help="Folder of the model repository.",
)  # fmt: skip
def triton(bundle: Path, out: Path) -> None:
    """Write BUNDLE as a model repository for an NVIDIA Triton server. Never run on one."""
    from heme_edge.bundle import load_bundle
    from heme_edge.notices import notice
    from heme_export.triton import write_repository

    opened = load_bundle(bundle)
    for name in write_repository(opened, out):
        click.echo(name)
    click.echo(f"model repository: {out}. {notice(opened.accepted_losses)}")
