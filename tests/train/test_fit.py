"""A whole small training: fit, kill, resume, refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from heme_edge.errors import HemeError
from heme_train.data import FOLDS, open_crops
from heme_train.fit import CHECKPOINT_FILE, HISTORY_FILE, Progress, fit
from heme_train.models import RUN_FILE, WEIGHTS_FILE
from heme_train.recipe import Recipe
from heme_train.runs import load_run
from heme_train.state import rate_at
from heme_train.teacher import TAUGHT_FILE, taught, teach


def test_it_learns_and_says_so(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    seen: list[Progress] = []
    recipe = replace(tiny, hold_out="fold0", epochs=4)
    [weights] = fit(open_crops(drawn_crops), tmp_path / "run", recipe, report=seen.append)
    assert [p.epoch for p in seen] == [1, 2, 3, 4]
    assert seen[-1].loss < seen[0].loss
    assert seen[-1].accuracy is not None
    state = torch.load(weights, weights_only=True)["state_dict"]
    assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    content = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert content["codes"] == ["ER", "L2", "M1"]
    assert sum(content["training_images"]["ER"].values()) == 24
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()


def test_going_on_from_an_earlier_run(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fit(open_crops(drawn_crops), first, replace(tiny, epochs=3))
    seen: list[Progress] = []
    recipe = replace(tiny, weights=str(first), epochs=1, rate=1e-4)
    fit(open_crops(drawn_crops), second, recipe, report=seen.append)
    content = json.loads((second / RUN_FILE).read_text())
    assert content["first_weights"] == "none"
    assert seen[0].loss < 1.0, "it starts where the first run ended, not anew"


def test_a_finished_run_is_not_run_again(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    recipe = replace(tiny, epochs=1)
    first = fit(open_crops(drawn_crops), tmp_path, recipe)[0].stat().st_mtime_ns
    assert fit(open_crops(drawn_crops), tmp_path, recipe)[0].stat().st_mtime_ns == first


def test_another_recipe_in_the_same_folder_is_refused(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    fit(open_crops(drawn_crops), tmp_path, replace(tiny, epochs=1))
    with pytest.raises(HemeError, match="a run of another recipe"):
        fit(open_crops(drawn_crops), tmp_path, replace(tiny, epochs=2))


TINY = [
    "--set",
    "network=test_efficientnet",
    "--set",
    "weights=none",
    "--set",
    "draws=96",
    "--set",
    "mix_styles=0",
]


def command(data: Path, run: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "heme_train.cli", "fit", "--data", str(data), "--run", str(run)]
    return [*start, *TINY, "--set", "batch=16", *more]


def metrics(run: Path) -> list[str]:
    return (run / HISTORY_FILE).read_text().splitlines()


def test_killed_in_the_third_epoch_and_resumed_equals_undisturbed(
    drawn_crops: Path, tmp_path: Path
) -> None:
    more = ("--set", "epochs=4", "--folds", "fold1")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(command(drawn_crops, killed, *more), stdout=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith(b"epoch 2/4") or b"epoch 2/4" in line:
                break
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not (killed / WEIGHTS_FILE).exists()
    for run in (killed, whole):
        subprocess.run(command(drawn_crops, run, *more), check=True, capture_output=True)
    assert metrics(killed) == metrics(whole)
    a, b = (torch.load(run / WEIGHTS_FILE, weights_only=True) for run in (killed, whole))
    assert a["codes"] == b["codes"]
    for key, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][key]), key


def test_every_fold_and_none_twice(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    recipe = replace(tiny, hold_out="all", epochs=1, draws=32)
    seen: list[Progress] = []
    weights = fit(open_crops(drawn_crops), tmp_path, recipe, report=seen.append)
    assert [p.fold for p in seen] == list(FOLDS)
    assert [p.folds_left for p in seen] == [4, 3, 2, 1, 0]
    assert all(p.accuracy is not None for p in seen)
    fit(open_crops(drawn_crops), tmp_path, recipe, report=seen.append)
    assert len(seen) == 5
    run = load_run(tmp_path)
    assert run.hold_outs == FOLDS
    assert weights == [tmp_path / fold / WEIGHTS_FILE for fold in FOLDS]


def test_a_single_run_and_an_ensemble_do_not_share_a_folder(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    crops, short = open_crops(drawn_crops), replace(tiny, epochs=1, draws=16)
    fit(crops, tmp_path / "single", short)
    with pytest.raises(HemeError, match="a run of other --folds"):
        fit(crops, tmp_path / "single", replace(short, hold_out="all"))
    fit(crops, tmp_path / "five", replace(short, hold_out="all"))
    with pytest.raises(HemeError, match="a run of other --folds"):
        fit(crops, tmp_path / "five", short)
    shutil.rmtree(tmp_path / "five" / "fold4")
    with pytest.raises(HemeError, match="has not ended"):
        load_run(tmp_path / "five")


def test_a_class_of_one_fold_makes_no_ensemble(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    crops = open_crops(drawn_crops)
    kept = [c for c in crops.crops if c.code != "M1" or c.role in ("fold2", "test")]
    with pytest.raises(HemeError, match="Without fold2 there is no crop to train on of M1"):
        fit(replace(crops, crops=kept), tmp_path, replace(tiny, hold_out="all"))


def test_an_empty_held_out_fold_is_refused(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    crops = open_crops(drawn_crops)
    kept = [c for c in crops.crops if c.role != "fold1"]
    with pytest.raises(HemeError, match="fold1 has no crop"):
        fit(replace(crops, crops=kept), tmp_path, replace(tiny, hold_out="fold1"))


def test_a_mistake_does_not_spoil_the_folder(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    crops = open_crops(drawn_crops)
    with pytest.raises(HemeError, match="does not exist"):
        fit(crops, tmp_path, replace(tiny, weights="missing.pt"))
    fit(crops, tmp_path, replace(tiny, epochs=1, draws=16))


def test_a_held_out_fold_does_not_come_in_by_the_weights(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    crops, short = open_crops(drawn_crops), replace(tiny, epochs=1, draws=16)
    fit(crops, tmp_path / "first", short)
    again = replace(short, weights=str(tmp_path / "first"), hold_out="fold0")
    with pytest.raises(HemeError, match="was trained on fold0"):
        fit(crops, tmp_path / "second", again)


def test_going_on_with_group_norm(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    crops, short = open_crops(drawn_crops), replace(tiny, epochs=1, draws=16, norm="group")
    fit(crops, tmp_path / "first", short)
    fit(crops, tmp_path / "second", replace(short, weights=str(tmp_path / "first")))
    assert len(load_run(tmp_path / "second").networks) == 1


def test_a_cycle_ends_in_a_member_and_the_rate_restarts(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    recipe = replace(tiny, epochs=4, cycles=2, draws=32)
    fit(open_crops(drawn_crops), tmp_path, recipe)
    run = load_run(tmp_path)
    assert len(run.networks) == 2
    assert run.names[0].endswith("weights-1")
    rates = [rate_at(step, 10, recipe) for step in range(40)]
    assert rates[19] < 0.02
    assert max(rates[20:24]) > 0.9
    assert rates[:20] == rates[20:]


def test_it_stops_early_and_keeps_the_best(drawn_crops: Path, tmp_path: Path, tiny: Recipe) -> None:
    seen: list[Progress] = []
    recipe = replace(tiny, hold_out="fold0", epochs=30, patience=2, draws=48, rate=0.02)
    fit(open_crops(drawn_crops), tmp_path, recipe, report=seen.append)
    losses = [float(row.split(",")[2]) for row in metrics(tmp_path)[1:]]
    assert len(losses) == len(seen)
    assert len(losses) == 30 or len(losses) - 1 - losses.index(min(losses)) == 2
    assert len(losses) < 30


def test_a_student_learns_from_folds_it_was_not_shown(
    drawn_crops: Path, drawn_teacher: Path, tmp_path: Path, tiny: Recipe
) -> None:
    crops = open_crops(drawn_crops)
    teacher = shutil.copytree(drawn_teacher, tmp_path / "teacher")
    rows = crops.select(["fold3"])
    split = crops.digest()
    told = teach(teacher, crops, rows, ["ER", "L2", "M1"], split)
    assert told.shape == (len(rows), 3)
    assert told.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    shutil.copy(teacher / "fold0" / WEIGHTS_FILE, teacher / "fold4" / WEIGHTS_FILE)
    again = teach(teacher, crops, rows, ["ER", "L2", "M1"], split)
    assert np.array_equal(told, again), "only the member that held fold3 out may speak of it"
    student = replace(tiny, teacher=str(teacher), epochs=2)
    fit(crops, tmp_path / "student", student)
    with pytest.raises(HemeError, match="held out fold0"):
        fit(crops, tmp_path / "other", replace(tiny, teacher=str(tmp_path / "student")))


def test_a_resumed_student_is_not_taught_again(
    drawn_crops: Path,
    drawn_teacher: Path,
    tmp_path: Path,
    tiny: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crops, asked, run = open_crops(drawn_crops), [], tmp_path / "student"
    teacher = shutil.copytree(drawn_teacher, tmp_path / "teacher")

    def counted(*given: Any) -> NDArray[np.float32]:
        asked.append(given)
        return teach(*given)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heme_train.teacher.teach", counted)
    student = replace(tiny, teacher=str(teacher), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(crops, run, student, report=stop)
    fit(crops, run, student)
    assert len(asked) == 1
    assert not (run / TAUGHT_FILE).exists()
    kept = run / TAUGHT_FILE
    given = crops, crops.select(["fold3"]), ["ER", "L2", "M1"], crops.digest()
    first = taught(kept, teacher, *given)
    shutil.copy(teacher / "fold0" / WEIGHTS_FILE, teacher / "fold3" / WEIGHTS_FILE)
    assert not np.array_equal(taught(kept, teacher, *given), first), "another teacher"
    assert len(asked) == 3


def test_no_picture_outside_the_training_rows_is_ever_shown(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe
) -> None:
    """A copy of a test picture, planted among the training rows under another name."""
    crops = open_crops(drawn_crops)
    hidden, shown = crops.select(["test"])[0], crops.select(["fold0"])[0]
    planted = replace(crops, places=crops.places | {shown.file: crops.places[hidden.file]})
    with pytest.raises(HemeError, match="also a picture of a test or validation role"):
        fit(planted, tmp_path, replace(tiny, draws=400, epochs=1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hold_out": "fold9"}, "'fold9' is not a fold"),
        ({"sources": ("nowhere",)}, "fewer than two classes"),
        ({"network": "resnext9000"}, "timm has no network named 'resnext9000'"),
        ({"weights": "packaged"}, "no packaged weights for 'test_efficientnet'"),
        ({"weights": "missing.pt"}, r"weights file 'missing\.pt' does not exist"),
    ],
)
def test_wrong_use_is_a_sentence(
    drawn_crops: Path, tmp_path: Path, tiny: Recipe, change: dict[str, object], says: str
) -> None:
    with pytest.raises(HemeError, match=says):
        fit(open_crops(drawn_crops), tmp_path / "run", replace(tiny, **change))  # type: ignore[arg-type]  # wrong on purpose
