"""What decides what is learned, apart from the crops; the recipes of the package."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from heme_edge.errors import HemeError
from heme_train.augment import Strength

if sys.version_info >= (3, 11):
    import tomllib
else:  # JetPack 6 has Python 3.10
    import tomli as tomllib

Settings = TypeVar("Settings", "Recipe", Strength)
RECIPES = Path(__file__).parent / "recipes"
CHOICES = {
    "head": ("softmax", "sigmoid"),
    "optimiser": ("adamw", "adam"),
    "schedule": ("cosine", "steps"),
    "norm": ("batch", "frozen", "group"),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, apart from the crops.

    Attributes:
        network: timm model name, or ``deepheme``.
        weights: start, see ``models.create_network``.
        mean, std: of RGB in 0..1, as the starting weights expect; empty means as known for them.
        head: ``softmax`` (cross-entropy) or ``sigmoid`` (one-hot binary cross-entropy).
        hold_out: fold kept for validation, or ``none`` to train on every fold role.
        sources: crop sources to train on; empty means all.
        hide: ``CODE:SOURCE`` pairs never shown, for the leave-one-label-source-out test.
        epochs, draws: length; ``draws`` crops are drawn per epoch, classes equally.
        batch: crops per optimiser step, over all devices.
        device_batch: crops in one pass on one device; gradients are summed up to ``batch``.
        optimiser: ``adamw`` or ``adam``.
        rate: peak of the learning rate.
        schedule: ``cosine`` (warm-up, then to zero, in every cycle) or ``steps`` (times
            ``step_factor`` every ``step_epochs``).
        cycles: restarts of the schedule; each ends in a member of its own (snapshot ensemble).
        patience: epochs without a better held-out loss before it stops; 0 never stops early.
        decay: weight decay.
        smoothing: label smoothing.
        average: decay of the moving average of the weights, which is what is kept; 0 keeps the
            weights themselves.
        norm: ``batch``, ``frozen`` (batch statistics of the starting weights) or ``group``.
        standardise: whether the graph standardises each crop's channels, see ``preprocessing``.
        source_prior: how far the loss is told which classes a source shows, 0 (not) to 1
            (a class its source never shows costs nothing); see ``losses.source_bias``.
        mix_styles: chance, per batch and early stage, that crops exchange the statistics of their
            features; see ``mixstyle``.
        small_epochs: first epochs, in which crops are shown at ``small_px``: quicker, and
            coarse shapes are learned first.
        small_px: side of the crops in those.
        teacher: run folder of an ensemble to learn from, or empty.
        teacher_share: weight of the teacher's probabilities in the loss.
        teacher_temperature: of the softmax both are compared at.
        seed: of weights, draws and augmentation.
        strength: of the augmentation.
    """

    network: str = "efficientnet_lite0"
    weights: str = "packaged"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    head: str = "softmax"
    hold_out: str = "none"
    sources: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    epochs: int = 12
    draws: int = 14_000
    batch: int = 64
    device_batch: int = 64
    optimiser: str = "adamw"
    rate: float = 1e-3
    schedule: str = "cosine"
    step_epochs: int = 5
    step_factor: float = 0.5
    cycles: int = 1
    patience: int = 0
    decay: float = 0.02
    smoothing: float = 0.05
    average: float = 0.998
    norm: str = "batch"
    standardise: bool = False
    source_prior: float = 0.0
    mix_styles: float = 0.0
    small_epochs: int = 0
    small_px: int = 64
    teacher: str = ""
    teacher_share: float = 0.7
    teacher_temperature: float = 2.0
    seed: int = 0
    strength: Strength = field(default_factory=Strength)

    def __post_init__(self) -> None:
        """Refuses what cannot be trained."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise HemeError(
                    f"The recipe's {name} cannot be '{getattr(self, name)}'.",
                    f"One of {', '.join(allowed)}",
                )
        if self.cycles > 1 and (self.patience or self.epochs % self.cycles):
            raise HemeError(
                "A recipe with cycles needs epochs that they divide, and no early stopping."
            )
        if len(self.mean) != len(self.std) or len(self.mean) not in (0, 3):
            raise HemeError("A recipe's mean and std are three numbers each, or neither is given.")
        if self.patience and self.hold_out == "none":
            raise HemeError("Early stopping needs a held-out fold.", "--folds all, or patience=0")


def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by the name of one in the package, or from a TOML file.

    Args:
        name: ``deepheme``, ``deepheme-snapshot``, ``edge``, … or the path of a file.
        changes: fields to set differently; ``strength.NAME`` for those of the augmentation.

    Raises:
        HemeError: there is no such recipe, it cannot be read, or a field is unknown.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise HemeError(f"There is no recipe '{name}'.", f"One of {known}, or the path of a file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HemeError(f"The recipe '{name}' cannot be read: {error}") from error
    return changed(recipe_of(content), changes or {})


def recipe_of(content: Mapping[str, Any]) -> Recipe:
    """A recipe from a table such as a TOML file or ``run.json`` holds."""
    content = dict(content)
    strength = _filled(Strength(), content.pop("strength", {}))
    return replace(_filled(Recipe(), content), strength=strength)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields set differently; ``strength.NAME`` for the augmentation's."""
    own = {k: v for k, v in changes.items() if not k.startswith("strength.")}
    of_strength = {k.partition(".")[2]: v for k, v in changes.items() if k not in own}
    return _filled(replace(recipe, strength=_filled(recipe.strength, of_strength)), own)


def parse_change(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``, the value as TOML or else as plain text.

    Raises:
        HemeError: there is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise HemeError(f"'{text}' is not NAME=VALUE.", "--set epochs=3")
    try:
        return name.strip(), tomllib.loads(f"v = {value}")["v"]
    except ValueError:
        return name.strip(), value.strip()


def _filled(default: Settings, content: Mapping[str, Any]) -> Settings:
    """The dataclass with the given fields, each of the type its default has."""
    known = {f.name for f in fields(default)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            raise HemeError(f"A recipe has no '{key}'.", f"It has {', '.join(sorted(known))}")
        wanted = type(getattr(default, key))
        try:
            values[key] = wanted(value) if not isinstance(value, str) or wanted is str else None
        except (TypeError, ValueError):
            values[key] = None
        if values[key] is None:
            raise HemeError(
                f"The recipe's {key} cannot be '{value}'.", f"It is a {wanted.__name__}"
            )
    return replace(default, **values)
