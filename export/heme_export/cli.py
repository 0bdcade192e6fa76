"""``heme-export``: from a training run to a bundle the microscope can use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from heme_calibration.cli import method_option
from heme_calibration.ranges import METHODS
from heme_edge.cli_support import HemeGroup, data_option
from heme_edge.notices import loss_lines
from heme_export.cli_checkpoint import check_told, checkpoint_options, open_told
from heme_export.cli_detector import detector
from heme_export.cli_engine import engine
from heme_export.cli_optics import optics
from heme_export.cli_triton import triton


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Export trained runs to verified bundles. Research use only."""


main.add_command(detector)
main.add_command(engine)
main.add_command(optics)
main.add_command(triton)


@main.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Bundle folder.")
@data_option
@click.option("--name", help="Name of the bundle [default: that of RUN].")
@click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="split.csv of the crops, where RUN is a bundle or a checkpoint.")  # fmt: skip
@click.option("--precision", default="fp32,fp16,int8", show_default=True, help="Comma-separated.")
@click.option(
    "--calibration-crops", type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR", help="Folder of crops that measure the INT8 ranges, such as your own site's; "
    "best with a sub-folder for each class [default: the crops that were trained on].",
)  # fmt: skip
@click.option("--calibration-count", type=click.IntRange(16), default=1024, show_default=True,
              help="How many crops measure the INT8 ranges.")  # fmt: skip
@click.option("--ranges", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="INT8 ranges of `heme-calibrate int8`, or ranges.json of a bundle of the same "
              "network.")  # fmt: skip
@method_option
@click.option("--accept-loss", is_flag=True,
              help="Write the bundle even if a file misses its tolerance; that is then said "
              "wherever the bundle is shown.")  # fmt: skip
@click.option(
    "--external", type=click.Path(exists=True, path_type=Path),
    help="Manifest of labelled crops of another laboratory, measured for the card.",
)  # fmt: skip
@click.option("--evidence", multiple=True, metavar="TITLE=metrics.json",
              help="A figure of `heme-train evaluate` for the card. Repeatable.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@checkpoint_options
def bundle(
    run: Path, out: Path, data: Path, name: str | None, split: Path | None, precision: str,
    calibration_crops: Path | None, calibration_count: int, ranges: Path | None,
    method: tuple[str, ...], accept_loss: bool, external: Path | None,
    evidence: tuple[str, ...], seed: int, **told: Any,
) -> None:  # fmt: skip
    """Turn RUN (of `heme-train fit`) into a bundle: ONNX files, reference, card, hashes.

    Every file is certified against the networks that were trained; where one misses its
    tolerance the command ends with exit code 3 and writes nothing.

    RUN may be a bundle too: its fp32 file is kept, all others and all figures are made anew. Or a
    checkpoint, a file of weights of any timm network: say --network, --classes and --head.
    """
    from heme_edge.bundle import MANIFEST, load_bundle
    from heme_export.fill import Options
    from heme_export.make import bundle_of_run, make_bundle, requantise
    from heme_train.data import open_crops
    from heme_train.report import load_evidence
    from heme_train.split import read_split

    check_told(run, told)
    options = Options(
        name=name or (run.stem if run.is_file() else run.resolve().name),
        precisions=tuple(precision.split(",")),
        calibration_crops=calibration_count,
        calibration_folder=calibration_crops,
        ranges=ranges,
        methods=method or METHODS,
        accept_loss=accept_loss,
        seed=seed,
        external=open_crops(external) if external else None,
        evidence=load_evidence(evidence),
    )
    crops = open_crops(data)
    if run.is_file():
        crops = read_split(split, crops) if split else crops
        made = bundle_of_run(open_told(run, crops, told), crops, out, options, click.echo)
    elif (run / MANIFEST).is_file():
        crops = read_split(split, crops) if split else crops
        source = load_bundle(run)
        options = replace(options, name=name or source.info.name)
        made = requantise(source, crops, out, options, click.echo)
    else:
        made = make_bundle(run, crops, out, options, click.echo)
    for model in made.info.models:
        size = (made.path / model.file).stat().st_size / 1e6
        agreement = made.info.parity["files"][model.file]["label_agreement"]
        click.echo(f"{model.file}  {size:.1f} MB  same labels {agreement:.2%}")
    for line in loss_lines(made.accepted_losses):
        click.echo(line)
    click.echo(f"bundle: {made.path}")


if __name__ == "__main__":
    main()
