"""``heme-train evaluate``: a bundle, a run, or anybody's table of probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heme_edge.errors import HemeError

if TYPE_CHECKING:
    from heme_train.answers import Answers
    from heme_train.report import Beside
    from heme_train.wanted import Wanted
    from heme_train.worsen import Worsening

EXISTING = click.Path(exists=True, path_type=Path)
NO_PAPER = "The paper's tables are not here (--paper DIR), so the report does not show them."


@click.command()
@click.argument("model", metavar="[RUN_OR_BUNDLE]", type=EXISTING, required=False)
@click.option("--data", type=EXISTING,
              help="Manifest, or its folder [default: $HEME_DATA/crops].")  # fmt: skip
@click.option("--role", "roles", multiple=True, default=("test",), show_default=True)
@click.option("--source", "sources", multiple=True, help="Only crops of this source. Repeatable.")
@click.option("--code", "codes", multiple=True, help="Only crops of this true class. Repeatable.")
@click.option("--only", multiple=True, metavar="CODE:SOURCE",
              help="Only crops of this class from this source. Repeatable.")  # fmt: skip
@click.option("--split", type=EXISTING,
              help="split.csv whose roles hold [default: the one in the run].")  # fmt: skip
@click.option("--external", is_flag=True,
              help="Measure the crops of external-manifest.csv beside the data.")  # fmt: skip
@click.option("--degrade", type=click.FloatRange(0.25, 5.0), metavar="UM_PER_PX",
              help="First shrink crops to this scale and enlarge them again.")  # fmt: skip
@click.option("--jpeg", type=click.IntRange(1, 100), metavar="QUALITY",
              help="First save crops as JPEG and read them again.")  # fmt: skip
@click.option("--precision", default="fp32", show_default=True)
@click.option("--predictions", type=EXISTING,
              help="Table of probabilities: image, then one column per code.")  # fmt: skip
@click.option("--truth", type=EXISTING, help="Table of true classes for --predictions.")
@click.option("--paper", type=EXISTING,
              help="Folder of the paper's tables [default: $HEME_DATA/paper].")  # fmt: skip
@click.option("--evidence", multiple=True, metavar="TITLE=METRICS.JSON",
              help="Figures of another evaluation for the report. Repeatable.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for report.html, the CSVs, model-card.md and metrics.json.")  # fmt: skip
def evaluate(
    model: Path | None, data: Path | None, roles: tuple[str, ...], sources: tuple[str, ...],
    codes: tuple[str, ...], only: tuple[str, ...], split: Path | None, external: bool,
    degrade: float | None, jpeg: int | None, precision: str, predictions: Path | None,
    truth: Path | None, paper: Path | None, evidence: tuple[str, ...], out: Path | None,
) -> None:  # fmt: skip
    """Measure RUN_OR_BUNDLE (default: the bundle in the package) on labelled crops; print JSON.

    The answer is the argmax over every class the model knows; one outside the true classes
    is an error. `restricted` allows only the true classes. With --predictions and --truth
    anybody's table of probabilities is measured instead.
    """
    from heme_train.measure import measure
    from heme_train.report import as_json, write_report
    from heme_train.wanted import Wanted
    from heme_train.worsen import Worsening

    wanted = Wanted(data, roles, sources, codes, only, external, split)
    beside = _beside(paper, evidence)
    if predictions or truth:
        answers = _from_tables(model, predictions, truth)
    else:
        answers = _from_crops(model, precision, wanted, Worsening(degrade, jpeg))
    measured = measure(answers)
    for sentence in (*measured.metrics["warnings"], *measured.metrics["notes"]):
        click.echo(sentence, err=True)
    click.echo(as_json(measured.metrics))
    if out is not None:
        if not beside.published:
            click.echo(NO_PAPER, err=True)
        write_report(measured, out, beside)


def _beside(paper: Path | None, evidence: tuple[str, ...]) -> Beside:
    from heme_train.published import load_published
    from heme_train.report import Beside, load_evidence
    from heme_train.wanted import shared_folder

    folder = paper or shared_folder("paper")
    return Beside(load_published(folder) if folder else [], load_evidence(evidence))


def _from_tables(model: Path | None, predictions: Path | None, truth: Path | None) -> Answers:
    from heme_train.tables import read_answers

    if predictions is None or truth is None:
        raise HemeError("--predictions and --truth belong together.")
    if model is not None:
        raise HemeError("Give a run or bundle, or --predictions, but not both.")
    return read_answers(predictions, truth)


def _from_crops(
    model: Path | None, precision: str, wanted: Wanted, worsening: Worsening
) -> Answers:
    from heme_edge.bundle import MANIFEST, load_bundle
    from heme_train.evaluate import answers_of_bundle, answers_of_run
    from heme_train.runs import load_run
    from heme_train.split import split_of_run
    from heme_train.wanted import choose

    if model is None or (model / MANIFEST).is_file():
        bundle = load_bundle(model)
        chosen = choose(wanted, bundle.info.provenance.get("crops_sha256", ""))
        answers = answers_of_bundle(bundle, precision, chosen.crops, chosen.rows, worsening)
    elif precision != "fp32":
        raise HemeError("A run is measured in fp32; a bundle has other precisions.", "heme-export")
    else:
        run = load_run(model)
        own = replace(wanted, split=wanted.split or split_of_run(model))
        chosen = choose(own, run.content.get("crops_sha256", ""))
        answers = answers_of_run(run, model.name, chosen.crops, chosen.rows, worsening)
    about = {
        "roles": sorted({c.role for c in chosen.rows}),
        "sources": sorted({c.source for c in chosen.rows}),
        "data_sha256": chosen.crops.digest(),
    }
    return replace(
        answers,
        about=answers.about | about,
        notes=(*chosen.notes, *answers.notes),
        warnings=(*chosen.warnings, *answers.warnings),
    )
