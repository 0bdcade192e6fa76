"""What a recipe is worth in another laboratory: trainings tested on what they never saw.

- Leave one source out: everything but one source is trained on, and the labels it shares with
  the others are tested on it.
- Leave one label source out: in one training each shared label is shown from one source only, in
  turn, and tested on the sources it was hidden in. A network that learned laboratories instead
  of cells finds none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration.confidence import ensemble_probabilities
from heme_edge.errors import HemeError
from heme_train.data import FOLDS, UNNAMED, Crop, CropSet
from heme_train.evaluate import crop_image
from heme_train.fit import Report, fit
from heme_train.metrics import restricted, summarise
from heme_train.recipe import Recipe
from heme_train.runs import load_run

ONE_LABEL_SOURCE = "one-label-source"


@dataclass(frozen=True)
class Trial:
    """One training and what it is tested on.

    Attributes:
        name: ``without-SOURCE`` or ``one-label-source``.
        recipe: what is trained.
        unseen: the ``(code, source)`` pairs it is tested on.
    """

    name: str
    recipe: Recipe
    unseen: frozenset[tuple[str, str]]


def trials(crops: CropSet, recipe: Recipe) -> list[Trial]:
    """Every source left out, then every shared label shown from one source only.

    Raises:
        HemeError: no two sources share two labels, or the recipe starts from, or is taught by,
            what has seen them all.
    """
    if recipe.teacher or recipe.weights not in ("packaged", "hub", "none"):
        raise HemeError(
            "A teacher or earlier weights may have seen what is left out.", "--set weights=packaged"
        )
    sources_of: dict[str, list[str]] = {}
    for c in sorted(crops.select(FOLDS), key=lambda c: (c.code, c.source)):
        seen = sources_of.setdefault(c.code, [])
        if c.source not in seen and c.code not in UNNAMED:
            seen.append(c.source)
    shared = {code: sources for code, sources in sources_of.items() if len(sources) > 1}
    if len(shared) < 2:
        raise HemeError("No two sources share two labels.", "Give the crops' manifest a source")
    return [*_without_each(sources_of, shared, recipe), _one_label_source(shared, recipe)]


def _without_each(
    sources_of: dict[str, list[str]], shared: dict[str, list[str]], recipe: Recipe
) -> Iterator[Trial]:
    every = sorted(set().union(*sources_of.values()))
    for out in sorted(set().union(*shared.values())):
        unseen = frozenset((code, out) for code, sources in shared.items() if out in sources)
        others = tuple(s for s in every if s != out)
        yield Trial(f"without-{out}", replace(recipe, sources=others), unseen)


def _one_label_source(shared: dict[str, list[str]], recipe: Recipe) -> Trial:
    hidden = [
        (code, source)
        for turn, (code, sources) in enumerate(sorted(shared.items()))
        for source in sources
        if source != sources[(turn + 1) % len(sources)]
    ]
    hide = tuple(f"{code}:{source}" for code, source in hidden)
    return Trial(ONE_LABEL_SOURCE, replace(recipe, hide=hide), frozenset(hidden))


def run_trial(
    trial: Trial, crops: CropSet, run: Path, roles: list[str], each: int, report: Report
) -> dict[str, Any]:
    """Trains (unless it is there) and tests.

    Args:
        trial: from ``trials``.
        crops: the crops.
        run: folder of all the trials' runs.
        roles: of the crops tested on; fold roles are as unseen as ``test``.
        each: crops per class and source at most; 0 takes all.
        report: called once per epoch.

    Returns:
        ``metrics.summarise``'s table for any answer, with ``restricted`` holding accuracy and
        macro means where only the unseen labels may be answered.
    """
    fit(crops, run / trial.name, trial.recipe, report=report)
    rows = [c for c in crops.select(roles) if (c.code, c.source) in trial.unseen]
    rows = _at_most(rows, each) if each else rows
    opened = load_run(run / trial.name)
    logits = opened.logits([crop_image(crops, c) for c in rows])
    probabilities = ensemble_probabilities(logits, 1.0, opened.head)
    truth = [c.code for c in rows]
    labels = sorted({code for code, _ in trial.unseen})
    bound = summarise(restricted(probabilities, opened.codes, labels), truth, opened.codes)
    result = summarise(probabilities, truth, opened.codes)
    return result | {"restricted": {"accuracy": bound["accuracy"], "macro": bound["macro"]}}


def _at_most(rows: list[Crop], each: int) -> list[Crop]:
    """The same crops every time."""
    rng = np.random.default_rng(0)
    kept: list[Crop] = []
    for key in sorted({(c.code, c.source) for c in rows}):
        own = [c for c in rows if (c.code, c.source) == key]
        kept += [own[i] for i in rng.permutation(len(own))[:each]]
    return kept
