"""Recipes as files, and changes to them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heme_edge.errors import HemeError
from heme_train.recipe_files import RECIPES, load_recipe, parse_change


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.toml")))
def test_every_recipe_of_the_package_can_be_trained(name: str) -> None:
    assert load_recipe(name, {"hold_out": "all"}).hold_out == "all"


def test_the_paper_s_recipe() -> None:
    recipe = load_recipe("deepheme", {"hold_out": "all"})
    assert (recipe.network, recipe.head) == ("resnext50_32x4d", "sigmoid")
    assert (recipe.optimiser, recipe.rate, recipe.batch) == ("adam", 0.001, 1024)
    assert (recipe.epochs, recipe.step_epochs) == (30, 5)
    assert recipe.patience > 0


def test_changes_reach_the_augmentation_and_leave_the_rest() -> None:
    plain = load_recipe("edge")
    other = load_recipe("edge", dict(map(parse_change, ("strength.stain=0.05", "rate=1e-4"))))
    assert other.strength.stain == 0.05
    assert other.strength.background == plain.strength.background
    assert other.rate == 1e-4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("epochs=0", "epochs is 0, not at least 1"),
        ("epochs=2.7", "epochs cannot be '2.7'"),
        ("rate=fast", "rate cannot be 'fast'"),
        ("rate=0", "rate is 0.0, not at least"),
        ("source_prior=1.5", "not between 0 and 1"),
        ("sources=pbc", "sources cannot be 'pbc'"),
        ("strength.scale=[1.0]", "scale cannot be"),
        ("strength=0.5", "strength is a table"),
        ("strength.colour=1", "no 'colour'"),
        ("colour=1", "no 'colour'"),
        ("mean=[0.5,0.5]", "three numbers each"),
        ('mean=["a","b","c"]', "three numbers each"),
        ("head=tanh", "head cannot be 'tanh'"),
        ("cycles=5", "cycles needs epochs that they divide"),
        ("patience=2", "needs a held-out fold"),
        ("epochs", "not NAME=VALUE"),
    ],
)
def test_a_wrong_change_is_a_sentence(change: str, says: str) -> None:
    with pytest.raises(HemeError, match=says):
        load_recipe("edge", dict([parse_change(change)]))


def test_a_student_with_a_held_out_fold_is_refused() -> None:
    with pytest.raises(HemeError, match="its teachers were trained on"):
        load_recipe("edge", {"teacher": "runs/teacher", "hold_out": "fold1"})


def test_no_recipe_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(HemeError, match="no recipe 'lunch'"):
        load_recipe("lunch")
    (tmp_path / "r.toml").write_text("epochs = = 3")
    with pytest.raises(HemeError, match="cannot be read"):
        load_recipe(str(tmp_path / "r.toml"))


def test_no_data_is_a_sentence() -> None:
    command = [sys.executable, "-m", "heme_train.cli", "fit", "--run", "nowhere"]
    bare = {k: v for k, v in os.environ.items() if k != "HEME_DATA"}
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Missing option '--data'. HEME_DATA is not set" in done.stderr
