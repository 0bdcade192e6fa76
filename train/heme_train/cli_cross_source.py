"""``heme-train cross-source``: what a recipe is worth in another laboratory."""

from __future__ import annotations

from pathlib import Path

import click

from heme_edge.cli_support import data_option


@click.command("cross-source", context_settings={"show_default": True})
@data_option
@click.option("--run", "run", type=click.Path(path_type=Path), required=True, help="Folder.")
@click.option("--recipe", default="edge", help="A recipe's name or file.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="As in `fit`.")
@click.option("--role", "roles", multiple=True, help="Test on these [default: the fold roles].")
@click.option("--each", type=click.IntRange(0), default=200,
              help="Crops per class and source at most; 0 takes all.")  # fmt: skip
@click.option("--trial", "only", multiple=True, help="Only these, such as one-label-source.")
def cross_source(
    data: Path, run: Path, recipe: str, changes: tuple[str, ...], roles: tuple[str, ...],
    each: int, only: tuple[str, ...],
) -> None:  # fmt: skip
    """Train without each source, and with each label from one source only; test on the rest.

    Prints a line for each training: macro-F1 and mean recall where any class may be answered,
    and macro-F1 where only the tested labels may. Its figures are in RUN/TRIAL/metrics.json,
    for `evaluate --evidence`. These networks never saw the crops of any role they are tested on:
    choose recipes on the fold roles, and report on `test`.
    """
    import json

    from heme_edge.errors import HemeError
    from heme_train.cross_source import run_trial, trials
    from heme_train.data import FOLDS, open_crops
    from heme_train.recipe_files import load_recipe, parse_change

    crops = open_crops(data)
    if not crops.roles_known:
        raise HemeError("These crops have no roles.", "Give the manifest a column role")
    found_trials = trials(crops, load_recipe(recipe, dict(map(parse_change, changes))))
    names = [t.name for t in found_trials]
    if unknown := sorted(set(only) - set(names)):
        raise HemeError(f"There is no trial '{unknown[0]}'.", f"One of {', '.join(names)}")
    for trial in found_trials:
        if only and trial.name not in only:
            continue
        found = run_trial(trial, crops, run, list(roles or FOLDS), each, lambda _: None)
        (run / trial.name / "metrics.json").write_text(json.dumps(found, indent=1) + "\n")
        recalls = "  ".join(f"{c} {s['recall']:.2f}" for c, s in found["per_class"].items())
        click.echo(
            f"{trial.name}: {found['n']} crops, macro-F1 {found['macro']['f1']:.3f}, recall "
            f"{found['macro']['recall']:.3f}; macro-F1 of the labels alone "
            f"{found['restricted']['macro']['f1']:.3f}; recall {recalls}"
        )
