"""Recipes as small files, and changes to them from the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from heme_edge.errors import HemeError
from heme_train.augment import Strength
from heme_train.recipe import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:  # JetPack 6 has Python 3.10
    import tomli as tomllib

Settings = TypeVar("Settings", Recipe, Strength)
RECIPES = Path(__file__).parent / "recipes"
IN_STRENGTH = "strength."


def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by the name of one in the package, or from a TOML file.

    Args:
        name: ``deepheme``, ``deepheme-snapshot``, ``edge``, … or the path of a file.
        changes: fields to set differently; ``strength.NAME`` for those of the augmentation.

    Raises:
        HemeError: there is no such recipe, it cannot be read, or a field is unknown or wrong.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise HemeError(f"There is no recipe '{name}'.", f"One of {known}, or the path of a file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HemeError(f"The recipe '{name}' cannot be read: {error}") from error
    return recipe_of(content, changes or {})


def recipe_of(content: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """A recipe from the table of a TOML file, with some fields set differently."""
    own = {k: v for k, v in changes.items() if not k.startswith(IN_STRENGTH)}
    deep = {k[len(IN_STRENGTH) :]: v for k, v in changes.items() if k not in own}
    table = {**content, **own}
    strength = table.pop("strength", {})
    if not isinstance(strength, Mapping):
        raise HemeError("A recipe's strength is a table.", "--set strength.stain=0.1")
    return replace(filled(Recipe(), table), strength=filled(Strength(), {**strength, **deep}))


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


def filled(default: Settings, content: Mapping[str, Any]) -> Settings:
    """The dataclass with the given fields, each like its default.

    Raises:
        HemeError: a field is unknown, or its value is of another kind.
    """
    known = {f.name for f in fields(default)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            raise HemeError(f"A recipe has no '{key}'.", f"It has {', '.join(sorted(known))}")
        values[key] = like(getattr(default, key), value)
        if values[key] is None:
            raise HemeError(
                f"The recipe's {key} cannot be '{value}'.", f"Such as {getattr(default, key)!r}"
            )
    return replace(default, **values)


def like(example: Any, value: Any) -> Any:
    """The value as the type of an example, or None where it is of another kind."""
    if isinstance(example, bool) or isinstance(value, bool):
        return value if isinstance(example, bool) and isinstance(value, bool) else None
    if isinstance(example, tuple):
        right = isinstance(value, list | tuple) and len(example) in (0, len(value))
        pairs = zip(example or [None] * len(value), value, strict=True) if right else ()
        parts = tuple(part if one is None else like(one, part) for one, part in pairs)
        return parts if right and None not in parts else None
    if isinstance(example, float):
        return float(value) if isinstance(value, int | float) else None
    return value if type(value) is type(example) else None
