"""``classify --session``: the same in the session as in the tables, also after an interruption."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heme_edge.session import Session, replay, verify
from tests.conftest import Run, draw_field, save

MODEL = ("--backend", "onnxruntime", "--precision", "int8")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check(folder: Path, out: Path, photos: int) -> None:
    """Tables and session say the same."""
    assert verify(folder) == []
    session = Session.open(folder)
    cells, rows = session.cells(order="id"), table(out / "cells.csv")
    assert [one.name for one in session.frames()] == [p["photo"] for p in table(out / "photos.csv")]
    assert len(session.frames()) == photos
    assert session.ended
    assert [(f"{c.x_px:.1f}", c.code, c.reason) for c in cells] == [
        (row["x_px"], row["code"], row["reason"]) for row in rows
    ]
    assert all(session.crop(cell.id) for cell in cells)
    counts = {row["code"]: row["count"] for row in table(out / "differential.csv")}
    for row in session.tally().rows():
        assert counts[row.code] == str(row.count)
    assert replay(folder).record()["stored"]["same"]
    session.close()


def test_fields_in_a_session_as_in_the_tables(tmp_path: Path, heme_edge: Run) -> None:
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", draw_field(800, 600))
    (tmp_path / "in" / "2.png").write_bytes(b"no picture")
    out, folder = tmp_path / "out", tmp_path / "session"
    options = ("--um-per-px", "0.25", "--out", out, "--session", folder)
    done = heme_edge("classify", tmp_path / "in", *options, *MODEL)
    assert done.returncode == 1, done.stderr
    check(folder, out, 3)
    again = heme_edge("classify", tmp_path / "in", *options, *MODEL)
    assert again.returncode == 2
    assert "holds a session already" in again.stderr
    record = json.loads(heme_edge("replay", folder, "--reclassify", *MODEL[:2]).stdout)
    said = record["reclassified"]
    assert said["cells"] == said["named_from_one_view"]["cells"] == record["cells"] > 0
    assert said["same_share"] > 0.8
    assert said["largest_difference"] < 0.9


def test_a_slide_in_a_session_as_in_the_tables(tmp_path: Path, slide: Path, heme_edge: Run) -> None:
    out, folder = tmp_path / "out", tmp_path / "session"
    done = heme_edge("classify", slide, "--out", out, "--session", folder, *MODEL)
    assert done.returncode == 0, done.stderr
    check(folder, out, len(table(out / "photos.csv")))
    session = Session.open(folder)
    places = [(f"{c.slide_x_um:.2f}", f"{c.slide_y_um:.2f}") for c in session.cells(order="id")]
    session.close()
    rows = table(out / "cells.csv")
    assert places == [(row["slide_x_um"], row["slide_y_um"]) for row in rows]


def test_single_cells_in_a_session(tmp_path: Path, heme_edge: Run) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", draw_field(96, 96))
    out, folder = tmp_path / "out", tmp_path / "session"
    options = ("--crops", "--out", out, "--session", folder)
    done = heme_edge("classify", tmp_path / "in", *options, *MODEL)
    assert done.returncode == 0, done.stderr
    check(folder, out, 3)
    session = Session.open(folder)
    assert session.cell(0).radius_um is None
    session.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_in_its_session(
    tmp_path: Path, heme_edge: Run, how: signal.Signals
) -> None:
    field = save(tmp_path / "in" / "0.png", draw_field(800, 600))
    for number in range(1, 14):
        shutil.copyfile(field, tmp_path / "in" / f"{number}.png")
    out, folder = tmp_path / "out", tmp_path / "session"
    asked = ["classify", tmp_path / "in", "--um-per-px", "0.25", "--out", out, "--session", folder]
    command = [sys.executable, "-m", "heme_edge.cli", *map(str, asked), *MODEL]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        end = time.monotonic() + 60
        photos = out / "photos.csv"
        while not (photos.exists() and photos.read_text().count("\n") > 3):
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(run.pid, how)
    assert verify(folder) == []
    assert 3 <= len(table(photos)) < 14
    if how == signal.SIGKILL:
        folder.rename(tmp_path / "moved")
        assert "lacks the session" in heme_edge(*asked, *MODEL).stderr
        (tmp_path / "moved").rename(folder)
    done = heme_edge(*asked, *MODEL)
    assert done.returncode == 0, done.stderr
    assert "Going on after" in done.stdout
    check(folder, out, 14)
