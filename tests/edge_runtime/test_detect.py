"""The classical detector on drawn fields, and on labelled fields where they are at hand."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from heme_edge.detect import open_detector
from heme_edge.detect.field_of_view import field_of_view
from heme_edge.errors import HemeError
from heme_edge.results import DetectedCell

Image = NDArray[np.uint8]
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "detection.py"

GLASS = (236, 230, 218)
NUCLEUS = (84, 42, 128)
CYTOPLASM = (176, 160, 206)
EOSINOPHIL = (214, 140, 140)
RED_CELL = (214, 170, 160)
PLATELET = (160, 130, 190)


class Drawing:
    """A field drawn in µm; ``um_per_px`` and the size fix the picture."""

    def __init__(
        self,
        um_per_px: float = 0.25,
        width_um: float = 80.0,
        height_um: float = 60.0,
        glass: tuple[int, int, int] = GLASS,
    ) -> None:
        self.um_per_px = um_per_px
        size = (round(height_um / um_per_px), round(width_um / um_per_px), 3)
        self.pixels: Image = np.full(size, glass, np.uint8)

    def disc(self, x_um: float, y_um: float, radius_um: float, colour: tuple[int, ...]) -> None:
        centre = (
            round((x_um / self.um_per_px - 0.5) * 16),
            round((y_um / self.um_per_px - 0.5) * 16),
        )
        radius = round(radius_um / self.um_per_px * 16)
        cv2.circle(self.pixels, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, 4)

    def cell(
        self, x_um: float, y_um: float, radius_um: float = 6.0, nucleus_um: float = 4.5
    ) -> None:
        self.disc(x_um, y_um, radius_um, CYTOPLASM)
        self.disc(x_um, y_um, nucleus_um, NUCLEUS)

    def red_cell(self, x_um: float, y_um: float) -> None:
        self.disc(x_um, y_um, 3.7, RED_CELL)
        self.disc(
            x_um, y_um, 1.2, tuple((a + b) // 2 for a, b in zip(GLASS, RED_CELL, strict=True))
        )

    def red_cells(self, *, stacked: bool = False) -> None:
        """A row of red cells at the top and one at the bottom."""
        step = 5.0 if stacked else 9.0
        for x in np.arange(6.0, 75.0, step):
            self.red_cell(float(x), 6.0)
            self.red_cell(float(x), 54.0)

    def seen(self, noise: float = 2.0) -> Image:
        """The picture with a soft focus and a little noise."""
        soft = cv2.GaussianBlur(self.pixels, (0, 0), 0.35 / self.um_per_px).astype(np.float32)
        soft += np.random.default_rng(1).normal(0, noise, soft.shape).astype(np.float32)
        return np.clip(soft, 0, 255).astype(np.uint8)


def found_um(drawing: Drawing) -> list[tuple[float, float, float]]:
    """(x, y, radius) of the cells found, µm, sorted."""
    um = drawing.um_per_px
    cells = open_detector("classical").find(drawing.seen(), um)
    return sorted(((c.x_px + 0.5) * um, (c.y_px + 0.5) * um, c.radius_px * um) for c in cells)


def near(found: list[tuple[float, float, float]], wanted: list[tuple[float, float]]) -> None:
    """Each wanted centre is found once, within 2 µm, and nothing else is."""
    assert len(found) == len(wanted), found
    for (x, y, _), (wx, wy) in zip(found, sorted(wanted), strict=True):
        assert np.hypot(x - wx, y - wy) < 2.0


def scene(um_per_px: float = 0.25) -> tuple[Drawing, list[tuple[float, float]]]:
    drawing = Drawing(um_per_px)
    drawing.red_cells()
    centres = [(15.0, 25.0), (38.0, 30.0), (62.0, 27.0), (50.0, 42.0)]
    for x, y in centres:
        drawing.cell(x, y)
    return drawing, centres


def test_cells_among_red_cells_are_found_with_their_whole_radius() -> None:
    drawing, centres = scene()
    found = found_um(drawing)
    near(found, centres)
    assert all(5.0 < radius < 7.0 for _, _, radius in found)


@pytest.mark.parametrize("um_per_px", [0.07, 0.1, 0.5, 0.6])
def test_the_same_cells_at_any_scale(um_per_px: float) -> None:
    drawing, centres = scene(um_per_px)
    near(found_um(drawing), centres)


def test_results_are_typed_sorted_and_scored() -> None:
    drawing, _ = scene()
    cells = open_detector("classical").find(drawing.seen(), 0.25)
    assert all(isinstance(cell, DetectedCell) for cell in cells)
    scores = [cell.score for cell in cells]
    assert scores == sorted(scores, reverse=True)
    assert all(type(value) is float and 0 <= value <= 1 for value in scores)


@pytest.mark.parametrize(
    "light", [(1.0, 1.0, 1.0), (1.0, 0.95, 0.6), (0.7, 0.8, 0.7), (0.5, 0.5, 0.6)]
)
def test_any_lamp(light: tuple[float, float, float]) -> None:
    drawing, centres = scene()
    drawing.pixels = (drawing.pixels * np.array(light)).astype(np.uint8)
    near(found_um(drawing), centres)


@pytest.mark.parametrize("cytoplasm", [CYTOPLASM, EOSINOPHIL])
def test_a_lobed_nucleus_is_one_cell(cytoplasm: tuple[int, ...]) -> None:
    drawing = Drawing()
    drawing.red_cells()
    for x in (25.0, 55.0):
        drawing.disc(x, 30.0, 6.5, cytoplasm)
        for angle in (0.3, 2.4, 4.5):
            drawing.disc(x + 3.4 * np.cos(angle), 30.0 + 3.4 * np.sin(angle), 2.0, NUCLEUS)
    near(found_um(drawing), [(25.0, 30.0), (55.0, 30.0)])


def test_touching_cells_are_two() -> None:
    drawing = Drawing()
    drawing.red_cells()
    drawing.cell(34.3, 30.0)
    drawing.cell(45.7, 30.0)
    near(found_um(drawing), [(34.3, 30.0), (45.7, 30.0)])


def test_touching_bare_nuclei_are_two() -> None:
    drawing = Drawing()
    drawing.disc(35.3, 30.0, 5.0, NUCLEUS)
    drawing.disc(44.7, 30.0, 5.0, NUCLEUS)
    near(found_um(drawing), [(35.3, 30.0), (44.7, 30.0)])


def test_dense_field_without_red_cells_and_little_glass() -> None:
    drawing = Drawing()
    centres = [(8.0 + 12.0 * i + 6.0 * (j % 2), 9.0 + 10.5 * j) for i in range(6) for j in range(5)]
    centres = [(x, y) for x, y in centres if x < 74]
    for x, y in centres:
        drawing.cell(x, y)
    found = found_um(drawing)
    assert len(found) == len(centres)
    for wx, wy in centres:
        assert min(np.hypot(x - wx, y - wy) for x, y, _ in found) < 2.0


def test_the_centre_is_of_the_whole_cell() -> None:
    drawing = Drawing()
    drawing.red_cells()
    drawing.disc(40.0, 30.0, 7.0, CYTOPLASM)
    drawing.disc(37.0, 30.0, 3.8, NUCLEUS)
    ((x, y, radius),) = found_um(drawing)
    assert np.hypot(x - 40.0, y - 30.0) < 1.0
    assert 6.0 < radius < 8.0


@pytest.mark.parametrize("blue", [CYTOPLASM, (150, 140, 200), (110, 100, 180)])
def test_a_large_blue_cytoplasm_is_no_second_cell(blue: tuple[int, ...]) -> None:
    drawing = Drawing()
    drawing.red_cells()
    drawing.disc(40.0, 30.0, 8.0, blue)
    drawing.disc(36.5, 30.0, 3.5, NUCLEUS)
    ((x, y, radius),) = found_um(drawing)
    assert np.hypot(x - 40.0, y - 30.0) < 1.5
    assert 7.0 < radius < 9.5


def test_a_red_cell_beside_it_does_not_move_the_centre() -> None:
    drawing = Drawing()
    drawing.red_cells()
    drawing.red_cell(49.5, 30.0)
    drawing.cell(40.0, 30.0)
    ((x, y, _),) = found_um(drawing)
    assert np.hypot(x - 40.0, y - 30.0) < 1.0


def test_red_cells_and_platelets_alone_give_nothing() -> None:
    drawing = Drawing()
    drawing.red_cells(stacked=True)
    for x in (20.0, 40.0, 60.0):
        drawing.disc(x, 30.0, 1.4, PLATELET)
    assert found_um(drawing) == []


def test_red_cells_alone_give_nothing() -> None:
    drawing = Drawing()
    drawing.red_cells()
    assert found_um(drawing) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (48, 64), (300, 400)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_frames_give_nothing(size: tuple[int, int], value: int) -> None:
    frame = np.full((*size, 3), value, np.uint8)
    for um_per_px in (0.05, 0.25, 1.0):
        assert open_detector("classical").find(frame, um_per_px) == []


@pytest.mark.parametrize("um_per_px", [0.07, 0.25, 0.6])
def test_noise_gives_nothing(um_per_px: float) -> None:
    rng = np.random.default_rng(3)
    grey = rng.normal(128, 8, (300, 400, 3)).clip(0, 255).astype(np.uint8)
    assert open_detector("classical").find(grey, um_per_px) == []
    wild = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert open_detector("classical").find(wild, 0.07) == []


def eyepiece(image: Image, radius_px: int, surround: int = 9) -> Image:
    """The image through an eyepiece: dark outside a disc."""
    height, width = image.shape[:2]
    lit = np.zeros((height, width), np.uint8)
    cv2.circle(lit, (width // 2, height // 2), radius_px, 1, cv2.FILLED)
    return np.asarray(np.where(lit[..., None] > 0, image, surround), np.uint8)


def test_a_rectangular_field_is_all_field() -> None:
    drawing, _ = scene()
    mask = field_of_view(drawing.seen())
    assert mask.dtype == np.bool_
    assert mask.shape == drawing.pixels.shape[:2]
    assert mask.all()


def test_a_black_frame_and_a_dark_corner_are_all_field() -> None:
    assert field_of_view(np.zeros((40, 60, 3), np.uint8)).all()
    drawing = Drawing()
    drawing.disc(0.0, 0.0, 9.0, (20, 16, 30))
    assert field_of_view(drawing.seen()).all()


def test_a_round_field_is_found_to_a_few_px() -> None:
    drawing, _ = scene()
    mask = field_of_view(eyepiece(drawing.seen(), 115))
    y, x = np.nonzero(mask)
    assert abs(mask.sum() / (np.pi * 115**2) - 1) < 0.05
    assert abs(x.mean() - 160) < 2
    assert abs(y.mean() - 120) < 2


@pytest.mark.parametrize("surround", [0, 9, 40])
def test_cells_in_a_round_field_and_not_on_its_rim(surround: int) -> None:
    drawing, centres = scene()
    image = eyepiece(drawing.seen(), 134, surround)
    cells = open_detector("classical").find(image, 0.25)
    near(sorted((c.x_px / 4, c.y_px / 4, 0.0) for c in cells), centres)


@pytest.mark.parametrize("light", [0.2, 0.34, 1.0])
def test_bright_corners_only_save_time(light: float, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, _ = scene()
    seen = (drawing.seen() * light).astype(np.uint8)
    corner = seen.copy()
    corner[:40, :40] = 3
    pictures = [seen, corner, corner[:, ::-1], eyepiece(seen, 115), eyepiece(seen, 190)]
    with_it = [field_of_view(picture) for picture in pictures]
    monkeypatch.setattr("heme_edge.detect.field_of_view._bright_corners", lambda image: False)
    for mask, picture in zip(with_it, pictures, strict=True):
        assert (mask == field_of_view(picture)).all()


def test_field_of_view_is_fast() -> None:
    frame = eyepiece(np.full((1080, 1920, 3), 220, np.uint8), 520)
    start = time.perf_counter()
    field_of_view(frame)
    assert time.perf_counter() - start < 0.25
    whole = np.full((1080, 1920, 3), 220, np.uint8)
    times = {}
    for name, picture in (("round", frame), ("whole", whole)) * 5:
        start = time.perf_counter()
        field_of_view(picture)
        taken = time.perf_counter() - start
        times[name] = min(taken, times.get(name, taken))
    assert times["whole"] < 0.5 * times["round"], "live looks at it several times a frame"


def test_an_unknown_detector_is_one_sentence() -> None:
    with pytest.raises(HemeError, match="no detector named 'magic'") as caught:
        open_detector("magic")
    assert "classical" in caught.value.hint


def test_importing_the_package_is_light() -> None:
    code = "import sys, heme_edge.detect; print('cv2' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def benchmark(
    *arguments: str | Path, detector: str = "classical"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments), "--detector", detector]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def drawn_folder(folder: Path) -> Path:
    """Two fields of the four-cell scene and one of a single cell without labels."""
    drawing, centres = scene()
    (folder / "a").mkdir()
    for name in ("a/one.png", "a/two.png"):
        cv2.imwrite(str(folder / name), drawing.seen()[..., ::-1])
    lone = Drawing()
    lone.cell(30.0, 30.0)
    cv2.imwrite(str(folder / "a/three.png"), lone.seen()[..., ::-1])
    (x, y), far = centres[0], centres[1:]
    left, top, right, bottom = (round(v * 4) for v in (x - 6, y - 6, x + 6, y + 6))
    wide = [round(v * 4) for v in (55.0, 20.0, 69.0, 34.0)]
    lines = ["file,label,x0,y0,x1,y1"]
    lines += [f"a/one.png,wbc,{left},{top},{right},{bottom}"]
    lines += [f"a/one.png,wbc,{px * 4},{py * 4},," for px, py in far]
    lines += [f"a/two.png,wbc,{','.join(map(str, wide))}", "a/two.png,wbc,4,4,20,20"]
    lines += ["a/two.png,wbc,100,60,260,200", "a/three.png,platelets,100,100,140,140"]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_the_benchmark_counts_one_to_one(tmp_path: Path) -> None:
    labels = drawn_folder(tmp_path)
    done = benchmark(
        "--images", tmp_path, "--annotations", labels, "--label", "wbc", "--um-per-px", "0.25"
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    figures = json.loads(line)
    assert figures.pop("ms_per_megapixel") > 0
    # one.png: 4 of 4; two.png: one cell in each of two boxes, the wide box's second cell and the
    # first cell are false alarms, one box is empty; three.png: one false alarm.
    assert figures == {"recall": 0.8571, "precision": 0.6667, "truth": 7, "found": 9}


def test_the_benchmark_takes_a_pattern_and_a_split(tmp_path: Path) -> None:
    labels = drawn_folder(tmp_path)
    split = tmp_path / "split.csv"
    split.write_text("file,role\na/one.png,test\na/two.png,fit\na/three.png,test\n")
    common = (
        "--images",
        tmp_path,
        "--annotations",
        labels,
        "--label",
        "wbc",
        "--um-per-px",
        "0.25",
    )
    figures = json.loads(benchmark(*common, "--split", split, "--role", "test").stdout)
    assert (figures["truth"], figures["found"], figures["recall"]) == (4, 5, 1.0)
    figures = json.loads(benchmark(*common, "--only", "a/t*").stdout)
    assert (figures["truth"], figures["found"]) == (3, 5)


def test_the_benchmark_names_what_is_missing(tmp_path: Path) -> None:
    labels = drawn_folder(tmp_path)
    common = ("--images", tmp_path, "--label", "wbc", "--um-per-px", "0.25", "--annotations")
    done = benchmark(*common, tmp_path / "none.csv")
    assert done.returncode != 0
    assert "none.csv" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "a/one.png").unlink()
    done = benchmark(*common, labels)
    assert done.returncode != 0
    assert "one.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_labelled_blood_fields(tmp_path: Path) -> None:
    root = os.environ.get("HEME_DATA")
    if not root or not (Path(root) / "fields" / "fields.tar").is_file():
        pytest.skip("HEME_DATA is not set to a folder that holds fields/fields.tar")
    fields = Path(root) / "fields"
    with (fields / "split.csv").open(newline="") as handle:
        wanted = {r["file"] for r in csv.DictReader(handle) if r["role"] == "test"}
    wanted = {name for name in wanted if name.startswith("bccd/")}
    with tarfile.open(fields / "fields.tar") as tar:
        for member in tar:
            name = member.name.removeprefix("./").removeprefix("fields/")
            stream = tar.extractfile(member) if name in wanted else None
            if stream is not None:
                target = tmp_path / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(stream.read())
    done = benchmark(
        *("--images", tmp_path, "--annotations", fields / "annotations.csv", "--label", "wbc"),
        *("--um-per-px", "0.072", "--only", "bccd/*", "--split", fields / "split.csv"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["recall"] >= 0.98, figures
    assert figures["precision"] >= 0.95, figures
