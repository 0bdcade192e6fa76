"""What a training is of, and whether it may begin: all that is checked before the first epoch."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from heme_edge.errors import HemeError
from heme_train.data import FOLDS, UNNAMED, Crop, CropSet, class_shares
from heme_train.models import RUN_FILE, earlier_run, first_weights
from heme_train.recipe import Recipe
from heme_train.runs import ENSEMBLE_FILE
from heme_train.state import statistics_of

CHECKPOINT_FILE = "checkpoint.pt"


def check_kind(run: Path, ensemble: bool) -> None:
    """A folder holds one network or an ensemble, never both.

    Raises:
        HemeError: it holds the other.
    """
    single, folds = (run / RUN_FILE).is_file(), (run / ENSEMBLE_FILE).is_file()
    if (ensemble and single) or (folds and not ensemble):
        raise HemeError(f"'{run}' holds a run of other --folds.", "Choose another --run")


def check_classes(crops: CropSet, recipe: Recipe) -> None:
    """Every member must know the same classes, or they are no ensemble.

    Raises:
        HemeError: without some fold a class has no crop left to train on.
    """
    known = {}
    for fold in FOLDS:
        training, _ = roles(crops, replace(recipe, hold_out=fold))
        known[fold] = {c.code for c in training} - UNNAMED
    every = set().union(*known.values())
    for fold, codes in known.items():
        if codes != every:
            lost = ", ".join(sorted(every - codes))
            raise HemeError(
                f"Without {fold} there is no crop to train on of {lost}.",
                "Spread the class over the folds, or leave it out",
            )


def roles(crops: CropSet, recipe: Recipe) -> tuple[list[Crop], list[Crop]]:
    """The rows to train on, and those to validate on (none without a held-out fold).

    Raises:
        HemeError: an unknown fold, nothing to hide, or too little to train or validate on.
    """
    if recipe.hold_out not in (*FOLDS, "none"):
        raise HemeError(f"'{recipe.hold_out}' is not a fold.", f"One of {', '.join(FOLDS)}, none")
    known = {f"{c.code}:{c.source}" for c in crops.crops}
    if wrong := sorted(set(recipe.hide) - known):
        raise HemeError(f"There are no crops of '{wrong[0]}' to hide.", "CODE:SOURCE, as M2:matek")
    shown = [f for f in FOLDS if f != recipe.hold_out]
    training = [
        c for c in crops.select(shown, recipe.sources) if f"{c.code}:{c.source}" not in recipe.hide
    ]
    if len({c.code for c in training} - UNNAMED) < 2:
        raise HemeError(
            "There are fewer than two classes to train on.", "Check --data and --source"
        )
    trained = {c.code for c in training} - UNNAMED
    validation = [
        c
        for c in crops.select([recipe.hold_out], recipe.sources)
        if c.code in trained and f"{c.code}:{c.source}" not in recipe.hide
    ]
    if recipe.hold_out != "none" and not validation:
        raise HemeError(
            f"{recipe.hold_out} has no crop of a class that is trained on.", "--folds none"
        )
    return training, validation


def check_start(recipe: Recipe, split: str) -> None:
    """A held-out fold must not come in by the starting weights.

    Raises:
        HemeError: they are of a run on the same split that was shown it.
    """
    earlier = earlier_run(recipe.weights) or {}
    same = earlier.get("crops_sha256") == split
    held = earlier.get("recipe", {}).get("hold_out", "none")
    if recipe.hold_out != "none" and same and held != recipe.hold_out:
        raise HemeError(f"'{recipe.weights}' was trained on {recipe.hold_out}.", "--folds none")


def describe(
    run: Path, digests: dict[str, str], recipe: Recipe, codes: list[str], training: list[Crop]
) -> None:
    """Writes run.json, or checks that the one there is of the same recipe and split.

    Raises:
        HemeError: training has begun there with another recipe or split.
    """
    mean, std = statistics_of(recipe)
    content = {
        "recipe": asdict(recipe),
        "codes": codes,
        "mean": mean,
        "std": std,
        "first_weights": first_weights(recipe.weights),
        "training_images": class_shares(training),
    }
    text = json.dumps(content | digests, indent=1)
    path = run / RUN_FILE
    if path.is_file():
        begun = (run / CHECKPOINT_FILE).is_file() or any(run.glob("weights*.pt"))
        if begun and path.read_text() != text:
            raise HemeError(
                f"'{run}' holds a run of another recipe or another split.", "Choose another --run"
            )
    run.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
