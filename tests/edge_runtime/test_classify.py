"""``heme-edge classify`` as a user runs it: in a process of its own, on real files."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from heme_edge.outputs import CELLS_HEADER, DIFFERENTIAL_HEADER, PHOTOS_HEADER
from tests.conftest import Run, draw_cell, draw_field, save


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def header(path: Path) -> list[str]:
    return path.read_text().splitlines()[0].split(",")


def test_a_folder_of_fields(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_field())
    save(tmp_path / "in" / "sub" / "b.png", draw_field(um_per_px=0.25))
    done = heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out", "--um-per-px", "0.25")
    assert done.returncode == 0, done.stderr
    cells, photos = rows(tmp_path / "out" / "cells.csv"), rows(tmp_path / "out" / "photos.csv")
    assert header(tmp_path / "out" / "cells.csv") == CELLS_HEADER
    assert header(tmp_path / "out" / "photos.csv") == PHOTOS_HEADER
    assert [(p["photo"], p["status"]) for p in photos] == [("a.png", "read"), ("sub/b.png", "read")]
    assert [int(p["cells"]) for p in photos] == [7, 7]
    assert sum(c["photo"] == "a.png" for c in cells) == 7
    for cell in cells:
        assert 0 <= float(cell["second_probability"]) <= float(cell["probability"]) <= 1
        assert (cell["counted"] == "true") == (cell["reason"] == "")
        assert cell["code"] != cell["second_code"]
        assert 4 < float(cell["radius_um"]) < 9
    assert sum(c["reason"] == "edge" for c in cells) == 2
    assert "read 2 / skipped 0 / cells 14" in done.stdout
    assert "Research use only" in done.stdout


def test_differential_adds_up(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_field())
    scale = ("--um-per-px", "0.25")
    heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out", *scale)
    table = rows(tmp_path / "out" / "differential.csv")
    assert header(tmp_path / "out" / "differential.csv") == DIFFERENTIAL_HEADER
    counted = [r for r in table if r["code"] != "uncertain"]
    cells = rows(tmp_path / "out" / "cells.csv")
    assert sum(int(r["count"]) for r in counted) == sum(c["counted"] == "true" for c in cells)
    uncertain = next(r for r in table if r["code"] == "uncertain")
    assert int(uncertain["count"]) == sum(c["reason"] == "uncertain" for c in cells)
    assert uncertain["percent"] == ""
    for row in counted:
        assert float(row["low95"]) <= float(row["percent"]) <= float(row["high95"])


def test_scale_is_recorded(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_field())
    done = heme_edge("classify", tmp_path / "in", "--crops", "--out", tmp_path / "assumed")
    assert "0.25 µm/px, assumed" in done.stdout
    heme_edge("classify", tmp_path / "in", "--out", tmp_path / "given", "--um-per-px", "0.3")
    for name, scale in (("assumed", 0.25), ("given", 0.3)):
        about = json.loads((tmp_path / name / "run.json").read_text())
        assert (about["um_per_px"], about["um_per_px_source"]) == (scale, name)
        assert "Research use only" in about["notice"]


def test_crops_of_any_size(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_cell(96))
    save(tmp_path / "in" / "b.png", draw_cell(128))
    done = heme_edge("classify", tmp_path / "in", "--crops", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    cells = rows(tmp_path / "out" / "cells.csv")
    assert [(c["photo"], c["x_px"], c["radius_um"]) for c in cells] == [
        ("a.png", "47.5", ""),
        ("b.png", "63.5", ""),
    ]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_precision_and_backend_are_chosen(tmp_path: Path, heme_edge: Run, precision: str) -> None:
    save(tmp_path / "in" / "a.png", draw_cell(96))
    options = ("--precision", precision, "--backend", "onnxruntime")
    done = heme_edge("classify", tmp_path / "in", "--crops", "--out", tmp_path / "out", *options)
    assert done.returncode == 0
    about = json.loads((tmp_path / "out" / "run.json").read_text())
    assert about["backend"] == f"onnxruntime {precision}"


def test_every_bad_file_is_named_and_skipped(tmp_path: Path, heme_edge: Run) -> None:
    folder = tmp_path / "in"
    good = save(folder / "good.png", draw_field())
    save(folder / "grey.png", draw_field())
    Pillow.open(good).convert("L").save(folder / "grey.png")
    Pillow.open(good).convert("RGBA").save(folder / "rgba.png")
    Pillow.open(good).convert("CMYK").save(folder / "cmyk.jpg")
    deep = (draw_field()[..., ::-1].astype(np.uint16)) * 257
    cv2.imwrite(str(folder / "deep.tif"), deep)
    (folder / "text.jpg").write_text("this is no picture")
    Pillow.open(good).save(folder / "short.jpg")
    data = (folder / "short.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(data[: len(data) // 2])
    save(folder / "one.png", np.zeros((1, 1, 3), np.uint8))
    (folder / "nothing.png").write_bytes(b"")
    save(folder / "black.png", np.zeros((480, 640, 3), np.uint8))
    done = heme_edge("classify", folder, "--out", tmp_path / "out", "--um-per-px", "0.25")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    status = {p["photo"]: (p["status"], p["reason"]) for p in rows(tmp_path / "out" / "photos.csv")}
    assert len(status) == 10
    read = {name for name, (s, _) in status.items() if s == "read"}
    assert read == {"good.png", "grey.png", "rgba.png", "cmyk.jpg", "deep.tif", "black.png"}
    assert status["text.jpg"][1] == "is not a picture this program can read"
    assert status["short.jpg"][1] == "is cut short"
    assert "1x1 px, smaller than one crop" in status["one.png"][1]
    assert status["nothing.png"][1] == "is empty"
    assert "read 6 / skipped 4" in done.stdout


def test_100_megapixels(tmp_path: Path, heme_edge: Run) -> None:
    (tmp_path / "in").mkdir()
    Pillow.new("RGB", (10_000, 10_000), (238, 232, 236)).save(
        tmp_path / "in" / "large.jpg", quality=50
    )
    scale = ("--um-per-px", "0.25")
    done = heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out", *scale)
    assert done.returncode == 0, done.stderr
    assert "read 1 / skipped 0 / cells 0" in done.stdout


@pytest.mark.parametrize(
    ("path", "says"),
    [("empty", "There are no photos in"), ("missing", "does not exist")],
)
def test_nothing_usable(tmp_path: Path, heme_edge: Run, path: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    done = heme_edge("classify", tmp_path / path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_only_bad_files_is_nothing_usable(tmp_path: Path, heme_edge: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("no picture")
    done = heme_edge("classify", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert rows(tmp_path / "out" / "photos.csv")[0]["status"] == "skipped"


@pytest.mark.parametrize("scale", ["0", "-1", "7", "x"])
def test_wrong_scale_is_wrong_use(tmp_path: Path, heme_edge: Run, scale: str) -> None:
    done = heme_edge("classify", tmp_path, "--out", tmp_path / "o", "--um-per-px", scale)
    assert done.returncode == 2


def test_two_folders_with_equal_names_keep_their_folders(tmp_path: Path, heme_edge: Run) -> None:
    for folder in ("one", "two"):
        save(tmp_path / folder / "a.png", draw_cell(96))
    done = heme_edge("classify", "one", "two", "--crops", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    photos = [p["photo"] for p in rows(tmp_path / "out" / "photos.csv")]
    assert photos == ["one/a.png", "two/a.png"]


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def test_disk_full_loses_nothing_already_written(tmp_path: Path, heme_edge: Run) -> None:
    for i in range(12):
        save(tmp_path / "in" / f"{i}.png", draw_field())
    out = tmp_path / "out"
    options = ("--out", out, "--um-per-px", "0.25")
    done = heme_edge("classify", tmp_path / "in", *options, preexec_fn=limit_file_size)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    text = (out / "cells.csv").read_text()
    assert text.endswith("\n")
    cells, photos = rows(out / "cells.csv"), rows(out / "photos.csv")
    assert 7 <= len(cells) < 84
    assert all(c["reason"] is not None for c in cells)
    read = {p["photo"] for p in photos}
    assert {c["photo"] for c in cells} == read


def test_out_on_a_full_device(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_cell(96))
    out = tmp_path / "out"
    out.mkdir()
    (out / "cells.csv").symlink_to("/dev/full")
    done = heme_edge("classify", tmp_path / "in", "--crops", "--out", out)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_half_way_leaves_whole_rows(tmp_path: Path) -> None:
    field = save(tmp_path / "in" / "0.png", draw_field(1600, 1200))
    for i in range(1, 400):
        shutil.copyfile(field, tmp_path / "in" / f"{i}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "heme_edge.cli", "classify", str(tmp_path / "in")]
    with subprocess.Popen(
        [*command, "--out", str(out), "--um-per-px", "0.25"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        photos = out / "photos.csv"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if photos.exists() and photos.read_text().count("\n") > 3:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        said, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    done = rows(photos)
    assert 3 <= len(done) < 400
    assert len(rows(out / "cells.csv")) == sum(int(p["cells"]) for p in done)
    assert json.loads((out / "run.json").read_text())["interrupted"] is True
    assert f"read {len(done)} / skipped 0" in said
    assert "Traceback" not in error
