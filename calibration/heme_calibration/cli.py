"""``heme-calibrate``: what is measured, not learned."""

from __future__ import annotations

from pathlib import Path

import click

from heme_calibration.cli_optics import optics
from heme_calibration.ranges import METHODS
from heme_edge.cli_support import HemeGroup, note


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Measure confidence, INT8 ranges and the optics of a camera. Research use only."""


main.add_command(optics)


method_option = click.option(
    "--method", type=click.Choice(METHODS), multiple=True,
    help="How INT8 ranges are taken. Repeatable; the one that agrees best is used [default: all].",
)  # fmt: skip


@main.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--crops", type=click.Path(exists=True, file_okay=False, path_type=Path),
              required=True, metavar="DIR",
              help="Folder of crops, best with a sub-folder for each class.")  # fmt: skip
@click.option("--split", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="split.csv of the training run: its test, confidence and validation crops "
              "are refused.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="File for the ranges; heme-export bundle --ranges takes it.")  # fmt: skip
@click.option("--count", type=click.IntRange(16), default=1024, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@method_option
def int8(
    bundle: Path, crops: Path, split: Path | None, out: Path, count: int, seed: int,
    method: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure the INT8 ranges of BUNDLE's network on a folder of crops."""
    from heme_calibration.crops import folder_crops, hold_outs_of, refused_hashes
    from heme_calibration.ranges import measure_ranges, save_ranges
    from heme_edge.bundle import load_bundle

    opened = load_bundle(bundle)
    refused = refused_hashes(split, hold_outs_of(opened)) if split else set()
    drawn = folder_crops(crops, count, refused, seed, note)
    fp32 = opened.path / opened.model("fp32", ("float",)).file
    ranges = measure_ranges(fp32, drawn, method or METHODS)
    save_ranges(ranges, out)
    click.echo(f"{out}: ranges of {len(next(iter(ranges.bounds.values())))} tensors on "
               f"{ranges.crops} crops, by {', '.join(ranges.bounds)}")  # fmt: skip


@main.command()
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--accuracy", type=click.FloatRange(0.5, 1.0), default=0.95, show_default=True,
              help="Wanted among the cells that keep their name.")  # fmt: skip
@click.option("--head", type=click.Choice(["softmax", "sigmoid"]),
              help="Of the networks [default: as TABLE says, or softmax].")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path),
              help="Also write it here; heme-export reads RUN/confidence.json.")  # fmt: skip
def confidence(table: Path, accuracy: float, head: str | None, out: Path | None) -> None:
    """Fit temperature and reject threshold on TABLE (.npz of `logits` [M,N,C] and `truth` [N]).

    Prints one JSON line. The crops must be of groups that no network was trained on:
    `heme-train logits RUN -o TABLE` writes those of role `confidence`.
    """
    import json
    from zipfile import BadZipFile

    import numpy as np

    from heme_calibration import confidence as fitting
    from heme_edge.errors import HemeError

    try:
        with np.load(table, allow_pickle=False) as arrays:
            logits, truth = arrays["logits"], arrays["truth"]
            told = str(arrays["head"]) if "head" in arrays else None
        if logits.ndim != 3 or len(truth) != logits.shape[1]:
            raise ValueError("logits are [M,N,C] and truth [N]")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise HemeError(f"'{table}' cannot be used: {error}") from error
    if head and told and head != told:
        raise HemeError(f"'{table}' is of a {told} head.", f"--head {told}")
    text = json.dumps(fitting.fit_confidence(logits, truth, accuracy, head or told or "softmax"))
    click.echo(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
