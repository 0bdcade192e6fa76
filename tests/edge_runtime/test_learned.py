"""The learned detector of the default bundle, on drawn and on real fields."""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from heme_edge.backends.fake import FakeBackend
from heme_edge.bundle import load_bundle
from heme_edge.crops import Image
from heme_edge.detect import open_detector
from heme_edge.detect.learned import normalised, spec_of
from heme_edge.errors import BundleError, DetectorError, HemeError
from heme_edge.naming import Namer
from heme_edge.sim.compose import Composed, ComposedCell, Marrow, compose
from heme_edge.sim.scoring import Score, score
from heme_edge.sim.stock import Stock
from tests.conftest import Run, draw_field, edit_manifest, save
from tests.edge_runtime.test_detect import benchmark

EMPTY = Marrow(cells=0, large=0, clumps=0, smudges=0, holes=0)


def composed(seed: int, marrow: Marrow, um_per_px: float = 0.25) -> Composed:
    return compose(
        Stock({}),
        np.random.default_rng(seed),
        marrow=marrow,
        width_px=round(200 / um_per_px),
        height_px=round(150 / um_per_px),
        um_per_px=um_per_px,
    )


def test_auto_is_the_learned_detector_of_the_default_bundle() -> None:
    detector = open_detector()
    assert detector.name == "learned"
    assert "nucleated cells" in detector.looks_for
    assert not any("red" in what for what in detector.looks_for)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_drawn_cells_are_found_in_every_precision(precision: str) -> None:
    total = Score()
    for seed in (1, 2):
        field = composed(seed, Marrow(cells=1500.0, drawn=1.0, smudges=0.0))
        detector = open_detector("learned", precision=precision)
        total += score(field, detector.find(field.image, 0.25))
    assert total.recall > 0.9
    assert total.precision > 0.9


@pytest.mark.parametrize("um_per_px", [0.12, 0.5, 0.7])
def test_the_same_at_any_scale(um_per_px: float) -> None:
    field = composed(3, Marrow(cells=900.0, drawn=1.0, smudges=0.0), um_per_px)
    found = score(field, open_detector().find(field.image, um_per_px))
    assert found.recall > 0.85
    assert found.precision > 0.85


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (48, 64), (301, 403)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_frames_give_nothing(size: tuple[int, int], value: int) -> None:
    frame = np.full((*size, 3), value, np.uint8)
    for um_per_px in (0.05, 0.25, 1.0):
        assert open_detector().find(frame, um_per_px) == []


def test_red_cells_and_platelets_alone_give_nothing() -> None:
    for seed in (4, 5, 6):
        field = composed(seed, EMPTY)
        assert [c for c in open_detector().find(field.image, 0.25) if c.kind == "cell"] == []


def well_inside(field: Composed) -> list[ComposedCell]:
    return [c for c in field.nucleated() if 60 < c.x_px < 740 and 60 < c.y_px < 540]


def test_a_megakaryocyte_is_one_object_named_from_several_crops() -> None:
    marrow = Marrow(cells=0, large=150.0, clumps=0, smudges=0, holes=0, platelets=0)
    fields = (composed(seed, marrow) for seed in range(20))
    field, inner = next((f, inner) for f in fields if (inner := well_inside(f)))
    finds = open_detector().find(field.image, 0.25)
    for cell in inner:
        near = [
            f for f in finds if np.hypot(f.x_px - cell.x_px, f.y_px - cell.y_px) < cell.radius_px
        ]
        assert len(near) == 1
        assert near[0].radius_px > 0.6 * cell.radius_px
    bundle = load_bundle()
    seen: list[int] = []

    class Counting(FakeBackend):
        def infer(self, crops: Image) -> tuple[np.ndarray, np.ndarray]:
            seen.append(len(crops))
            return super().infer(crops)

    namer = Namer(bundle, Counting(len(bundle.codes)), open_detector())
    named = namer.name_field(field.image, 0.25)
    assert len(named.cells) == len(finds)
    assert seen[0] > 3 * len(inner)


def test_a_heap_of_platelets_is_never_counted() -> None:
    marrow = Marrow(cells=0, large=0, clumps=400.0, smudges=0, holes=0)
    field = composed(8, marrow)
    bundle = load_bundle()
    namer = Namer(bundle, FakeBackend(len(bundle.codes)), open_detector())
    named = namer.name_field(field.image, 0.25).cells
    clumps = [c for c in named if c.cell.kind == "platelet-clump"]
    assert clumps
    assert {c.reason for c in clumps} == {"not-in-differential"}


def test_the_lamp_is_taken_out() -> None:
    field = draw_field()
    warm = (field * np.array([0.9, 0.75, 0.5])).astype(np.uint8)
    view = np.ones(field.shape[:2], np.bool_)
    assert np.abs(normalised(field, view).astype(int) - normalised(warm, view)).mean() < 2.0


def test_the_surround_of_an_eyepiece_is_no_cell() -> None:
    field = composed(9, Marrow(cells=600.0, drawn=1.0)).image
    rows, columns = np.mgrid[: field.shape[0], : field.shape[1]]
    inside = np.hypot(columns - 400, rows - 300) < 290
    seen = np.where(inside[..., None], field, 6).astype(np.uint8)
    cells = open_detector().find(seen, 0.25)
    assert cells
    assert all(np.hypot(c.x_px - 400, c.y_px - 300) < 292 for c in cells)


def test_a_bundle_without_a_detector_falls_back(bundle_copy: Path) -> None:
    edit_manifest(bundle_copy, lambda content: content.pop("detector"))
    bundle = load_bundle(bundle_copy)
    assert open_detector(bundle=bundle).name == "classical"
    with pytest.raises(DetectorError, match="holds no detector"):
        open_detector("learned", bundle)


@pytest.mark.parametrize(
    "change",
    [{"stride": 8}, {"min_score": {}}, {"files": {"int8": "detector.onnx"}}, {"um_per_px": "x"}],
)
def test_a_detector_of_an_unknown_kind_is_one_sentence(
    bundle_copy: Path, change: dict[str, object]
) -> None:
    edit_manifest(bundle_copy, lambda content: content["detector"].update(change))
    with pytest.raises(BundleError, match="does not know"):
        spec_of(load_bundle(bundle_copy))


@pytest.mark.parametrize(
    "files", [["detector.onnx"], "detector.onnx", {"fp32": "../detector.onnx"}]
)
def test_a_detector_elsewhere_is_refused(bundle_copy: Path, files: object) -> None:
    edit_manifest(bundle_copy, lambda content: content["detector"].update(files=files))
    with pytest.raises(BundleError):
        load_bundle(bundle_copy)


def test_a_damaged_detector_is_refused(bundle_copy: Path, heme_edge: Run, tmp_path: Path) -> None:
    model = bundle_copy / spec_of(load_bundle()).files["int8"]
    model.write_bytes(model.read_bytes()[:5000])
    with pytest.raises(BundleError, match=model.name):
        load_bundle(bundle_copy)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    edit_manifest(bundle_copy, lambda content: content["files"].update({model.name: digest}))
    with pytest.raises(DetectorError, match="cannot be used"):
        open_detector(bundle=load_bundle(bundle_copy))
    save(tmp_path / "photos" / "a.png", draw_field())
    given = ("--um-per-px", "0.25", "--bundle", bundle_copy, "--out", tmp_path / "out")
    done = heme_edge("classify", tmp_path / "photos", *given)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_detector_is_small() -> None:
    bundle = load_bundle()
    sizes = [(bundle.path / name).stat().st_size for name in spec_of(bundle).files.values()]
    assert sum(sizes) < 2_000_000


def test_an_unknown_detector_is_one_sentence() -> None:
    with pytest.raises(HemeError, match="no detector named 'magic'"):
        open_detector("magic")


def test_real_fields(heme_data: Path, tmp_path: Path) -> None:
    """A quarter of the test fields; all of them are in docs/results.md."""
    fields = heme_data / "fields"
    with (fields / "split.csv").open(newline="") as file:
        wanted = [r["file"] for r in csv.DictReader(file) if r["role"] == "test"]
    wanted = [w for w in wanted if not w.startswith("chula")][::4]
    with tarfile.open(fields / "fields.tar") as tar:
        tar.extractall(
            tmp_path, [m for m in tar.getmembers() if m.name in set(wanted)], filter="data"
        )
    split = tmp_path / "split.csv"
    split.write_text("file,role\n" + "".join(f"{w},test\n" for w in wanted))
    for only, um, recall, precision in (
        ("bccd/*", 0.072, 0.97, 0.95),
        ("phone/*", 0.55, 0.93, 0.9),
    ):
        done = benchmark(
            "--images", tmp_path, "--annotations", fields / "annotations.csv", "--label", "wbc",
            "--um-per-px", str(um), "--only", only, "--split", split, detector="auto",
        )  # fmt: skip
        figures = json.loads(done.stdout)
        assert figures["recall"] >= recall, figures
        assert figures["precision"] >= precision, figures


def test_the_detector_is_chosen_on_the_command_line(tmp_path: Path, heme_edge: Run) -> None:
    photo = save(tmp_path / "a.png", draw_field())
    for name, used in (("classical", "classical"), ("auto", "learned")):
        out = tmp_path / name
        done = heme_edge("classify", photo, "--out", out, "--um-per-px", "0.25", "--detector", name)
        assert done.returncode == 0, done.stderr
        assert json.loads((out / "run.json").read_text())["detector"] == used
    live = ("live", "--camera", photo.parent, "--um-per-px", "0.25", "--headless")
    done = heme_edge(*live, "--detector", "classical")
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["detector"] == "classical"
    assert heme_edge(*live, "--detector", "none").returncode == 2
