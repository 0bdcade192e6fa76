"""``heme-train``: from labelled crops to a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.cli_support import HemeGroup, data_option

if TYPE_CHECKING:
    from heme_train.fit import Progress


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Train cell classifiers on labelled crops. Research use only."""


@main.command()
@data_option
@click.option("--run", "run", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option(
    "--extra", "extras", type=click.Path(exists=True, path_type=Path), multiple=True,
    help="Another crop set to train on too, such as detector false alarms. Repeatable.",
)  # fmt: skip
@click.option("--source", "sources", multiple=True, help="Train on this source only. Repeatable.")
@click.option("--network", default="efficientnet_lite0", show_default=True, help="Any timm model.")
@click.option(
    "--weights", default="packaged", show_default=True,
    help="packaged (Lite0), hub (timm downloads), none, or the path of a checkpoint or run.",
)  # fmt: skip
@click.option("--hold-out", default="none", show_default=True, help="Fold to validate on.")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--draws", type=click.IntRange(1), default=14_000, show_default=True,
              help="Crops drawn per epoch, classes equally.")  # fmt: skip
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="Peak learning rate.")
@click.option("--standardise", is_flag=True, help="Standardise each crop's channels.")
@click.option("--seed", type=int, default=0, show_default=True)
def fit(
    data: Path, run: Path, extras: tuple[Path, ...], sources: tuple[str, ...], network: str,
    weights: str, hold_out: str, epochs: int, draws: int, batch: int, rate: float,
    standardise: bool, seed: int,
) -> None:  # fmt: skip
    """Train one network; run the same command again to resume an interrupted one."""
    from functools import reduce

    from heme_train import fit as fitting
    from heme_train.data import CropSet, open_crops
    from heme_train.recipe import Recipe

    more = reduce(CropSet.joined, map(open_crops, extras)) if extras else None
    recipe = Recipe(
        network=network, weights=weights, hold_out=hold_out, sources=sources, epochs=epochs,
        draws=draws, batch=batch, rate=rate, standardise=standardise, seed=seed,
    )  # fmt: skip
    done = fitting.fit(open_crops(data), run, recipe, more, _print_epoch)
    click.echo(f"trained: {done}")


def _print_epoch(p: Progress) -> None:
    held_out = "" if p.accuracy is None else f"  held-out accuracy {p.accuracy:.4f}"
    left = p.seconds * (p.epochs - p.epoch) / 60
    click.echo(
        f"epoch {p.epoch}/{p.epochs}  loss {p.loss:.4f}{held_out}  "
        f"{p.crops_per_s:.0f} crops/s  {left:.0f} min left"
    )


@main.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path), required=False)
@data_option
@click.option("--role", "roles", multiple=True, default=("test",), show_default=True)
@click.option("--source", "sources", multiple=True, help="Only crops of this source. Repeatable.")
@click.option("--code", "codes", multiple=True, help="Only crops of this true class. Repeatable.")
@click.option("--precision", default="fp32", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for metrics.json.")
def evaluate(
    bundle: Path | None, data: Path, roles: tuple[str, ...], sources: tuple[str, ...],
    codes: tuple[str, ...], precision: str, out: Path | None,
) -> None:  # fmt: skip
    """Measure BUNDLE (default: the one in the package) on labelled crops; print JSON.

    The answer is the argmax over every class the model knows; one outside the true classes
    is an error. `restricted` allows only the true classes.
    """
    import json

    from heme_edge.bundle import load_bundle
    from heme_train.data import open_crops
    from heme_train.evaluate import evaluate_bundle

    crops = open_crops(data)
    rows = crops.select(roles, sources, codes)
    metrics = evaluate_bundle(load_bundle(bundle), precision, crops, rows)
    text = json.dumps(metrics, indent=1)
    click.echo(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text(text + "\n")


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
    from heme_train.false_alarms import Fields, cut_false_alarms

    fields = Fields(images, annotations, split, role, label, only, um_per_px)
    counts = cut_false_alarms(fields, out)
    click.echo(", ".join(f"{n} {code}" for code, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
