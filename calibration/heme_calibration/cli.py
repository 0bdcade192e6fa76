"""``heme-calibrate``: what is measured, not learned."""

from __future__ import annotations

from pathlib import Path

import click

from heme_edge.cli_support import HemeGroup


@click.group(cls=HemeGroup)
@click.version_option(package_name="heme-edge")
def main() -> None:
    """Measure confidence and INT8 ranges. Research use only."""


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
