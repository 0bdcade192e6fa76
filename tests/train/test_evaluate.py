"""``heme-train evaluate`` as a user calls it: the bundle, a run, a table."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from heme_edge.bundle import load_bundle
from heme_edge.cli_support import HemeGroup
from heme_edge.errors import HemeError
from heme_train.cli_evaluate import evaluate
from heme_train.data import open_crops
from heme_train.evaluate import answers_of_bundle, answers_of_run
from heme_train.fit import fit
from heme_train.recipe import Recipe
from heme_train.runs import ENSEMBLE_FILE, load_run
from heme_train.split import SPLIT_FILE, write_split
from heme_train.wanted import NO_ROLES, OTHER_SPLIT, SPLIT_BY_IMAGE, Wanted, choose
from tests.conftest import LOSS, with_accepted

Called = tuple[int, str, str]


@click.group(cls=HemeGroup)
def main() -> None:
    pass


main.add_command(evaluate)


@pytest.fixture(autouse=True)
def no_shared_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEME_DATA", raising=False)


@pytest.fixture(scope="module")
def run(drawn_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "two"
    recipe = Recipe(network="test_efficientnet", weights="none", epochs=1, draws=32, batch=16)
    for seed, fold in enumerate(("fold0", "fold1")):
        changed = replace(recipe, hold_out=fold, seed=seed)
        fit(open_crops(drawn_crops), folder / fold, changed)
    (folder / ENSEMBLE_FILE).write_text('{"folds": ["fold0", "fold1"]}')
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Called:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_default_bundle_on_crops(
    drawn_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rc, out, err = call(capsys, "--data", drawn_crops, "--out", tmp_path / "m", "--code", "l2")
    assert rc == 0
    metrics = json.loads(out)
    assert metrics == json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert metrics["n"] == 6
    assert metrics["bundle"] == "heme-edge default"
    assert metrics["digest"] == load_bundle().digest
    assert metrics["roles"] == ["test"]
    assert metrics["per_class"]["L2"]["auc"] is None
    assert OTHER_SPLIT in err
    assert "paper's tables are not here" in err
    assert (tmp_path / "m" / "report.html").is_file()


def test_accepted_losses_of_a_bundle_are_warnings(
    bundle_copy: Path, drawn_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, said = with_accepted(bundle_copy, [LOSS]), f"Accepted at export: {LOSS}"
    options = ("--data", drawn_crops, "--out", tmp_path / "m", "--code", "l2")
    rc, out, err = call(capsys, bundle, *options)
    assert rc == 0, err
    assert said in json.loads(out)["warnings"]
    assert said in err
    for name in ("report.html", "model-card.md"):
        assert said in (tmp_path / "m" / name).read_text()


def test_a_run_is_measured_by_member_and_as_a_whole(
    run: Path, drawn_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rc, out, err = call(capsys, run, "--data", drawn_crops, "--out", tmp_path)
    assert rc == 0, err
    metrics = json.loads(out)
    assert metrics["members"]["names"] == ["fold0", "fold1"]
    assert metrics["warnings"] == []
    assert "No temperature" in err
    crops = open_crops(drawn_crops)
    a = answers_of_run(load_run(run), "two", crops, crops.select(["test"]))
    assert a.members is not None
    assert a.members.shape == (2, 18, 3)
    assert np.allclose(a.probabilities, a.members.mean(0))
    assert "Mean ± sd of 2 networks" in (tmp_path / "report.html").read_text()
    assert call(capsys, run, "--data", drawn_crops, "--precision", "int8")[0] == 2


def test_folds_a_member_was_trained_on_are_said(
    run: Path, drawn_crops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = call(capsys, run, "--data", drawn_crops, "--role", "fold0", "--role", "test")
    warning = "Crops of role fold0 were trained on by this model: its figures are no test."
    assert json.loads(out)["warnings"] == [warning]


def test_worsened_crops_are_named_otherwise(
    drawn_crops: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", drawn_crops)
    plain = json.loads(call(capsys, *data)[1])
    worse = json.loads(call(capsys, *data, "--degrade", 1.0, "--jpeg", 20)[1])
    assert worse["nll"] != plain["nll"]
    assert len(worse["notes"]) == len(plain["notes"]) + 2


def test_which_crops_are_chosen(drawn_crops: Path) -> None:
    wanted = Wanted(drawn_crops)
    assert len(choose(wanted).rows) == 18
    chosen = choose(replace(wanted, only=("L2:site", "m1:site", "ER:elsewhere")))
    assert {c.code for c in chosen.rows} == {"L2", "M1"}
    assert len(choose(replace(wanted, codes=("ER",))).rows) == 6
    digest = open_crops(drawn_crops).digest()
    assert choose(wanted, digest).warnings == ()
    assert choose(wanted, "another").warnings == (OTHER_SPLIT,)


def test_external_crops(drawn_crops: Path, tmp_path: Path) -> None:
    crops = open_crops(drawn_crops)
    picture = crops.data(crops.select(["test"], (), ["L2"])[0])
    (tmp_path / "x.png").write_bytes(picture)
    with (tmp_path / "external-manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "code", "role"], ["x.png", "L2", "fold1"]])
    chosen = choose(Wanted(tmp_path, external=True), "another")
    a = answers_of_bundle(load_bundle(), "fp32", chosen.crops, chosen.rows)
    assert (len(a.truth), chosen.warnings, a.grouped) == (1, (), False)


def test_the_roles_of_a_run_hold_where_the_crops_have_none(
    drawn_crops: Path, tmp_path: Path
) -> None:
    crops = open_crops(drawn_crops)
    for i, c in enumerate(crops.crops[:12]):
        place = tmp_path / "data" / c.code / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(crops.data(c))
    wanted = Wanted(tmp_path / "data")
    chosen = choose(wanted)
    assert (len(chosen.rows), chosen.notes) == (12, (NO_ROLES,))
    rows = [replace(c, role="fold0" if i % 2 else "test") for i, c in enumerate(chosen.crops.crops)]
    made = replace(chosen.crops, crops=rows[:10], split_by="image")
    write_split(tmp_path / SPLIT_FILE, made)
    held = choose(replace(wanted, split=tmp_path / SPLIT_FILE), "another")
    assert len(held.rows) == 5
    assert held.notes == ("2 crops are not in the run's split and are left out.",)
    assert held.warnings == (SPLIT_BY_IMAGE,)
    (tmp_path / SPLIT_FILE).write_text("file,role\na,b\n")
    with pytest.raises(HemeError, match="is no split of crops"):
        choose(replace(wanted, split=tmp_path / SPLIT_FILE))


def test_a_table_needs_no_crops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.tsv").write_text("image\tM1\tM2\na\t0.9\t0.1\nb\t0.2\t0.6\n")
    (tmp_path / "t.tsv").write_text("image\tcode\tgroup\na\tM1\ts\nb\tM1\tt\n")
    tables = ("--predictions", tmp_path / "p.tsv", "--truth", tmp_path / "t.tsv")
    rc, out, err = call(capsys, *tables, "--out", tmp_path / "out")
    assert rc == 0
    assert json.loads(out)["accuracy"] == 0.5
    assert "1 of 2 rows do not sum to 1" in err
    assert "1 of 2 rows do not sum to 1" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no crops to evaluate on"),
        (("--truth", "HERE"), "--predictions and --truth belong together"),
        (("HERE", "--predictions", "HERE", "--truth", "HERE"), "but not both"),
        (("--data", "DATA", "--role", "none"), "no crops to evaluate on"),
        (("--data", "DATA", "--only", "M6"), "'M6' is not CODE:SOURCE"),
        (("--data", "DATA", "--code", "blast"), "'blast' is not a known cell class"),
        (("--data", "DATA", "--external"), "external-manifest.csv"),
        (("HERE", "--data", "DATA"), "is not a training run"),
        (("--evidence", "x"), "is not TITLE=metrics.json"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...], says: str, drawn_crops: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"HERE": str(tmp_path), "DATA": str(drawn_crops)}
    rc, out, err = call(capsys, *(places.get(a, a) for a in arguments))
    assert (rc, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
