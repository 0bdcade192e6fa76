"""``heme-export``: from a training run to a bundle the microscope can use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from heme_edge.cli_support import HemeGroup, data_option
from heme_export.cli_engine import engine
from heme_export.cli_triton import triton


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Export trained runs to verified bundles. Research use only."""


main.add_command(engine)
main.add_command(triton)


@main.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Bundle folder.")
@data_option
@click.option("--name", help="Name of the bundle [default: the run's or bundle's].")
@click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="split.csv of the training run, where RUN is a bundle.")  # fmt: skip
@click.option("--precision", default="fp32,int8", show_default=True, help="Comma-separated.")
@click.option("--calibration-crops", type=click.IntRange(16), default=512, show_default=True)
@click.option(
    "--external", type=click.Path(exists=True, path_type=Path),
    help="Manifest of labelled crops of another laboratory, measured for the card.",
)  # fmt: skip
@click.option("--evidence", multiple=True, metavar="TITLE=metrics.json",
              help="A figure of `heme-train evaluate` for the card. Repeatable.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
def bundle(
    run: Path, out: Path, data: Path, name: str | None, split: Path | None, precision: str,
    calibration_crops: int, external: Path | None, evidence: tuple[str, ...], seed: int,
) -> None:  # fmt: skip
    """Turn RUN (of `heme-train fit`) into a bundle: ONNX files, reference, card, hashes.

    RUN may be a bundle too: its fp32 file is kept, INT8 and all figures are made anew.
    """
    from heme_edge.bundle import MANIFEST, load_bundle
    from heme_export.make import Options, make_bundle, requantise
    from heme_train.data import open_crops
    from heme_train.report import load_evidence
    from heme_train.split import read_split

    options = Options(
        name=name or run.resolve().name,
        precisions=tuple(precision.split(",")),
        calibration_crops=calibration_crops,
        seed=seed,
        external=open_crops(external) if external else None,
        evidence=load_evidence(evidence),
    )
    crops = open_crops(data)
    if (run / MANIFEST).is_file():
        crops = read_split(split, crops) if split else crops
        source = load_bundle(run)
        options = replace(options, name=name or source.info.name)
        made = requantise(source, crops, out, options, click.echo)
    else:
        made = make_bundle(run, crops, out, options, click.echo)
    for model in made.info.models:
        size = (made.path / model.file).stat().st_size / 1e6
        click.echo(f"{model.file}  {size:.1f} MB  tolerance {model.tolerance:.4f}")
    click.echo(f"bundle: {made.path}")


if __name__ == "__main__":
    main()
