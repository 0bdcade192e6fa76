"""``heme-train``: from labelled crops to a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.cli_support import HemeGroup, data_option
from heme_train.cli_cross_source import cross_source
from heme_train.cli_evaluate import evaluate
from heme_train.cli_explain import explain
from heme_train.detector.cli import detector

if TYPE_CHECKING:
    from heme_train.fit import Progress


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Train cell classifiers on labelled crops. Research use only."""


main.add_command(evaluate)
main.add_command(cross_source)
main.add_command(explain)
main.add_command(detector)


@main.command(context_settings={"show_default": True})
@data_option
@click.option("--run", "run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option("--recipe", default="edge", help="edge, deepheme, deepheme-snapshot, or a file.")
@click.option(
    "--folds", help="all (one network per fold), none, or one to hold out [default: the recipe's]."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the recipe, such as epochs=3 or strength.stain=0.1. Repeatable.",
)
@click.option(
    "--extra",
    "extras",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Another crop set to train on too, such as detector false alarms. Repeatable.",
)
@click.option("--source", "sources", multiple=True, help="Train on this source only. Repeatable.")
@click.option(
    "--hide",
    multiple=True,
    metavar="CODE:SOURCE",
    help="Never show this class of this source. Repeatable.",
)
@click.option(
    "--teacher",
    type=click.Path(exists=True, file_okay=False),
    default=None,
    help="Run of --folds all to learn from.",
)
@click.option("--by-image", is_flag=True, help="Split by image; overstates every figure.")
@click.option("--group-pattern", help="Regular expression; its group is the slide in a file name.")
@click.option("--mixed-sizes", is_flag=True, help="Allow crops of several sizes in one source.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out files that cannot be read.")
@click.option("--devices", type=click.IntRange(1), default=1, help="Processes on this machine.")
@click.option("--nodes", type=click.IntRange(1), default=1, help="Machines.")
def fit(
    data: Path, run: Path, recipe: str, folds: str | None, changes: tuple[str, ...],
    extras: tuple[Path, ...], sources: tuple[str, ...], hide: tuple[str, ...],
    teacher: str | None, by_image: bool, group_pattern: str | None, mixed_sizes: bool,
    skip_unreadable: bool, devices: int, nodes: int,
) -> None:  # fmt: skip
    """Train one network or an ensemble; the same command again goes on where it stopped."""
    import sys
    from functools import partial, reduce

    from heme_train import fit as fitting
    from heme_train.data import CropSet, open_crops
    from heme_train.distributed import joined_team, launch, told_team
    from heme_train.prepare import prepare
    from heme_train.recipe_files import load_recipe, parse_change

    named = {"hold_out": folds, "sources": sources, "hide": hide, "teacher": teacher}
    fields = dict(map(parse_change, changes)) | {k: v for k, v in named.items() if v}
    chosen = load_recipe(recipe, fields)
    if devices * nodes > 1 and told_team().size == 1:
        sys.exit(launch(sys.argv[1:], devices, nodes))
    more = reduce(CropSet.joined, map(open_crops, extras)) if extras else None
    prepared = partial(
        prepare, data, run, by_image=by_image, mixed_sizes=mixed_sizes,
        skip_unreadable=skip_unreadable, group_pattern=group_pattern,
    )  # fmt: skip
    with joined_team() as team:
        crops = prepared(say=_say) if team.first else None
        team.wait()
        crops = crops or prepared()
        done = fitting.fit(crops, run, chosen, more, _print_epoch, team)
    if team.first:
        click.echo(f"trained: {', '.join(map(str, done))}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _print_epoch(p: Progress) -> None:
    held_out = "" if p.accuracy is None else f"  held-out accuracy {p.accuracy:.4f}"
    left = p.seconds * (p.epochs * (p.folds_left + 1) - p.epoch) / 60
    fold = "" if p.fold == "none" else f"{p.fold} "
    click.echo(
        f"{fold}epoch {p.epoch}/{p.epochs}  loss {p.loss:.4f}{held_out}  "
        f"{p.crops_per_s:.0f} crops/s  {left:.0f} min left"
    )


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option("--role", default="confidence", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="An .npz file.")
def logits(run: Path, data: Path, role: str, out: Path) -> None:
    """Write the logits of every member of RUN, for `heme-calibrate confidence`."""
    import numpy as np

    from heme_train.data import open_crops
    from heme_train.evaluate import crop_image
    from heme_train.runs import crops_of, load_run

    opened = load_run(run)
    crops = crops_of(run, open_crops(data))
    rows = crops.select([role], opened.content["recipe"]["sources"], opened.codes)
    found = opened.logits([crop_image(crops, row) for row in rows])
    truth = np.array([opened.codes.index(row.code) for row in rows])
    np.savez_compressed(
        out, logits=found, truth=truth, codes=np.array(opened.codes), head=np.array(opened.head)
    )
    click.echo(f"{found.shape[1]} crops, {found.shape[0]} members: {out}")


@main.command("false-alarms")
@click.option("--images", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--annotations", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--split", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--role", default="fit", show_default=True)
@click.option("--label", default="wbc", show_default=True, help="Label of the true cells.")
@click.option("--only", default="*", show_default=True, help="File name pattern.")
@click.option("--um-per-px", type=click.FloatRange(0.05, 1.0), required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def false_alarms(
    images: Path, annotations: Path, split: Path, role: str, label: str, only: str,
    um_per_px: float, out: Path,
) -> None:  # fmt: skip
    """Cut detector false alarms and empty places from annotated fields, for `fit --extra`."""
    from heme_train.false_alarms import cut_false_alarms
    from heme_train.labelled_fields import Fields

    fields = Fields(images, annotations, split, role, label, only, um_per_px)
    counts = cut_false_alarms(fields, out)
    click.echo(", ".join(f"{n} {code}" for code, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
