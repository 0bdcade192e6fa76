"""Whole slides classified: every cell once, the best places first, gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from heme_edge.detect import open_detector
from heme_edge.sim import Smear, draw_smear
from heme_edge.sim.compose import LARGE, Composed, ComposedCell, Marrow, compose
from heme_edge.sim.stock import Stock
from tests.conftest import Run, draw_field, save
from tests.edge_runtime.slide_kit import UM, on_glass, rows, write_slide
from tests.edge_runtime.test_field_score import blurred, heap


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, slide: Path, heme_edge: Run) -> Path:
    """Results of an undisturbed run over all of the slide."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = heme_edge("classify", slide, "--max-cells", "0", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def places(out: Path) -> np.ndarray:
    """``[N, 3]``: x, y and radius in µm of every cell in the results."""
    keys = ("slide_x_um", "slide_y_um", "radius_um")
    return np.array([[float(cell[k]) for k in keys] for cell in rows(out / "cells.csv")])


def test_every_cell_once(whole_run: Path, smear: Smear) -> None:
    """As many as the detector finds in the undivided picture, and none of them twice."""
    found = places(whole_run)
    whole = [
        (UM * c.x_px, UM * c.y_px, UM * c.radius_px)
        for c in open_detector().find(smear.image, UM)
    ]  # fmt: skip
    truth = np.array([(c.x_um, c.y_um, c.radius_um) for c in smear.cells if c.code != "PL"])
    hit = _near(truth, found)
    undivided = _near(truth, np.array(whole))
    assert hit.any(1).mean() >= undivided.any(1).mean() - 0.002
    assert (~hit.any(0)).sum() <= (~undivided.any(0)).sum() <= 2
    assert abs(len(found) - len(whole)) <= 0.005 * len(whole)
    away = np.hypot(*(found[:, None, :2] - found[None, :, :2]).transpose(2, 0, 1))
    larger = np.maximum(found[:, None, 2], found[None, :, 2])
    assert not (away < 0.6 * larger)[np.triu_indices(len(found), 1)].any()


def _near(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    away = truth[:, None, :2] - found[None, :, :2]
    return np.asarray(np.hypot(away[..., 0], away[..., 1]) < truth[:, None, 2])


def test_columns_and_report(whole_run: Path, slide: Path) -> None:
    cells, photos = rows(whole_run / "cells.csv"), rows(whole_run / "photos.csv")
    assert {p["photo"] for p in photos} == {slide.name}
    assert len({(p["slide_x_um"], p["slide_y_um"]) for p in photos}) == len(photos) == 12
    assert {p["field"] for p in photos} == {"readable"}
    assert sum(int(p["cells"]) for p in photos) == len(cells)
    for cell in cells:
        assert float(cell["x_px"]) * UM == pytest.approx(float(cell["slide_x_um"]), abs=0.05)
    about = json.loads((whole_run / "run.json").read_text())
    assert (about["um_per_px"], about["um_per_px_source"]) == (None, "slide")
    report = about["slides"][0]
    assert (report["um_per_px"], report["um_per_px_source"]) == (UM, "slide")
    assert (report["fields_read"], report["enough"]) == (12, False)
    assert report["counted"] == sum(c["counted"] == "true" for c in cells)
    assert not (whole_run / ".unfinished.json").exists()


def test_it_stops_when_there_are_enough_cells(tmp_path: Path, slide: Path, heme_edge: Run) -> None:
    done = heme_edge("classify", slide, "--max-cells", "60", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run.json").read_text())["slides"][0]
    assert report["enough"]
    assert 60 <= report["counted"] < 200
    assert len(rows(tmp_path / "photos.csv")) == report["fields_read"] < 5


def command(path: Path, out: Path) -> list[str]:
    how = ["--max-cells", "0", "--out", str(out)]
    how += [] if path.is_file() else ["--um-per-px", "0.25"]  # photos do not tell their scale
    return [sys.executable, "-m", "heme_edge.cli", "classify", str(path), *how]


def stop_half_way(slide: Path, out: Path, how: signal.Signals) -> int:
    with subprocess.Popen(
        command(slide, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (out / "photos.csv").exists() and len(rows(out / "photos.csv")) >= 3:
                break
            time.sleep(0.005)
        os.kill(process.pid, how)
        return process.wait(30)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_half_way_and_gone_on_with_is_an_undisturbed_run(
    tmp_path: Path, slide: Path, whole_run: Path, heme_edge: Run, how: signal.Signals
) -> None:
    code = stop_half_way(slide, tmp_path, how)
    assert code == (130 if how == signal.SIGINT else -9)
    assert 3 <= len(rows(tmp_path / "photos.csv")) < 12
    with (tmp_path / "cells.csv").open("a") as file:  # a field whose own row was never written
        file.write("smear.svs,1.0,1.0,5.00,M1,myeloid blast,0.9,M2,0.1,0.0,true,,0.25,0.25\nsmear")
    done = heme_edge(*command(slide, tmp_path)[3:])
    assert done.returncode == 0, done.stderr
    assert "Going on after" in done.stdout
    for name in ("cells.csv", "photos.csv", "differential.csv"):
        assert (tmp_path / name).read_text() == (whole_run / name).read_text(), name
    gone_on, undisturbed = (json.loads((d / "run.json").read_text()) for d in (tmp_path, whole_run))
    # The drift meter looks at pictures, which a run that is gone on with has only from there on.
    assert gone_on.pop("drift")
    assert undisturbed.pop("drift")
    assert gone_on == undisturbed


def test_another_request_or_a_finished_one_begins_anew(
    tmp_path: Path, slide: Path, heme_edge: Run
) -> None:
    stop_half_way(slide, tmp_path, signal.SIGKILL)
    for _ in range(2):
        done = heme_edge("classify", slide, "--max-cells", "1", "--out", tmp_path)
        assert "Going on after" not in done.stdout
        assert len(rows(tmp_path / "photos.csv")) == 1


def test_photos_are_gone_on_with_too(tmp_path: Path, heme_edge: Run) -> None:
    for i in range(30):
        save(tmp_path / "in" / f"{i}.png", draw_field(1600, 1200))
    out = tmp_path / "out"
    stop_half_way(tmp_path / "in", out, signal.SIGKILL)
    before = len(rows(out / "photos.csv"))
    done = heme_edge(*command(tmp_path / "in", out)[3:])
    assert f"Going on after {before} " in done.stdout
    assert f"read 30 / skipped 0 / cells {len(rows(out / 'cells.csv'))}" in done.stdout
    assert len({p["photo"] for p in rows(out / "photos.csv")}) == 30


def test_photos_and_slides_in_one_folder(tmp_path: Path, smear: Smear, heme_edge: Run) -> None:
    write_slide(tmp_path / "in" / "a.svs", smear.image[:1200, :1200])
    save(tmp_path / "in" / "b.tif", draw_field())
    write_slide(tmp_path / "in" / "c.tif", smear.image[:1200, 1200:2400])
    done = heme_edge("classify", tmp_path / "in", "--um-per-px", "0.25", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    photos = rows(tmp_path / "out" / "photos.csv")
    assert photos[0]["photo"] == "b.tif"
    assert photos[0]["slide_x_um"] == ""
    assert {p["photo"] for p in photos[1:]} == {"a.svs", "c.tif"}
    tiles = [c for c in rows(tmp_path / "out" / "cells.csv") if c["photo"] != "b.tif"]
    assert all(c["slide_x_um"] for c in tiles)


def test_the_best_monolayer_comes_first_and_the_rest_is_passed_over(
    tmp_path: Path, heme_edge: Run
) -> None:
    """Four places on one slide: sharp, thick, out of focus, and bare glass between."""
    sharp = draw_smear(1, width_um=250, height_um=200, um_per_px=UM, cells_per_mm2=1700).image
    image = on_glass(sharp, 4096, 3072, 100, 100)
    image[:1024, 2048:] = np.tile(heap(6), (2, 2, 1))[:1024, :2048]
    image[2200:3000, 100:1100] = blurred(sharp, 2.0)
    path = write_slide(tmp_path / "places.svs", image)
    done = heme_edge("classify", path, "--max-cells", "0", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    photos = rows(tmp_path / "out" / "photos.csv")
    assert {(p["slide_x_um"], p["slide_y_um"]) for p in photos[:1]} == {("-0.1", "-0.1")}
    assert all(float(p["slide_x_um"]) < 300 for p in photos)
    assert int(photos[0]["cells"]) > 5 * sum(int(p["cells"]) for p in photos[1:])
    report = json.loads((tmp_path / "out" / "run.json").read_text())["slides"][0]
    assert report["passed_over"]["too-thick"] >= 1
    assert report["passed_over"]["out-of-focus"] >= 1
    assert report["fields_with_tissue"] <= 8


def test_memory_does_not_grow_with_the_slide(tmp_path: Path, smear: Smear, heme_edge: Run) -> None:
    """A slide of 0.6 GB as pixels, against one of 0.04 GB."""
    peaks = []
    for side in (1, 4):
        image = np.tile(smear.image, (side, side, 1))
        path = write_slide(tmp_path / f"{side}.svs", image, compressionargs={"level": 60})
        del image
        code = (
            "import re, sys; from heme_edge.cli import main\n"
            f"sys.argv[1:] = ['classify', {str(path)!r}, '--max-cells', '40', '--precision', "
            f"'fp32', '--backend', 'onnxruntime', '--out', {str(tmp_path / f'out{side}')!r}]\n"
            "try:\n    main()\nfinally:\n"
            "    status = open('/proc/self/status').read()\n"
            "    print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < peaks[0] + 200, peaks


def test_slide_without_scale(tmp_path: Path, smear: Smear, heme_edge: Run) -> None:
    path = write_slide(tmp_path / "noscale.svs", smear.image[:1200, :1200], mpp=None)
    done = heme_edge("classify", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "does not tell its scale. Give --um-per-px." in done.stderr
    done = heme_edge("classify", path, "--um-per-px", "0.25", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "run.json").read_text())["slides"][0]
    assert (report["um_per_px"], report["um_per_px_source"]) == (0.25, "given")


def test_a_slide_is_no_single_cell(slide: Path, tmp_path: Path, heme_edge: Run) -> None:
    done = heme_edge("classify", slide, "--crops", "--out", tmp_path)
    assert done.returncode == 2
    assert "is a whole slide, not a single cell" in done.stderr


def test_without_the_extra(slide: Path, tmp_path: Path) -> None:
    """Python with the packages hidden, as after ``pip install heme-edge``."""
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('tiffslide', 'tifffile', 'openslide', 'zarr'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from heme_edge.cli import main\n"
        f"sys.argv[1:] = ['classify', {str(slide)!r}, '--out', {str(tmp_path)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'heme-edge[wsi]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_megakaryocyte_is_one_row_wherever_fields_meet(tmp_path: Path, heme_edge: Run) -> None:
    marrow = Marrow(cells=300.0, drawn=1.0, large=60.0, holes=0.0, clumps=0.0, smudges=0.0)
    made = compose(
        Stock({}), np.random.default_rng(4), width_px=2800, height_px=2000, um_per_px=UM,
        marrow=marrow,
    )  # fmt: skip
    slide = write_slide(tmp_path / "large.svs", made.image)
    done = heme_edge("classify", slide, "--max-cells", "0", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = places(tmp_path / "out")
    whole = [c for c in made.cells if c.kind == LARGE and _whole(made, c)]
    assert len(whole) >= 6
    reasons = [cell["reason"] for cell in rows(tmp_path / "out" / "cells.csv")]
    for cell in whole:
        away = np.hypot(found[:, 0] - cell.x_px * UM, found[:, 1] - cell.y_px * UM)
        radius_um = cell.radius_px * UM
        own = np.flatnonzero((away < radius_um) & (found[:, 2] > radius_um / 2))
        assert len(own) == 1
        assert reasons[own[0]] not in ("edge", "unreadable-field")


def _whole(made: Composed, cell: ComposedCell) -> bool:
    height, width = made.image.shape[:2]
    x, y, r = cell.x_px, cell.y_px, cell.radius_px * 1.15
    return r < x < width - r and r < y < height - r
