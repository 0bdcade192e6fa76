"""Whole slides on real pyramidal files: read, and chosen from."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile

from heme_edge.crops import Image
from heme_edge.errors import SourceError
from heme_edge.frames import open_source
from heme_edge.frames.pyramid import is_slide, open_pyramid
from heme_edge.frames.where_to_look import choose, cores, overview
from heme_edge.frames.whole_slide import WholeSlide
from heme_edge.sim import Smear, draw_smear
from tests.conftest import Run, draw_field, save
from tests.edge_runtime.slide_kit import GLASS, UM, rows, write_slide
from tests.edge_runtime.test_field_score import blurred, heap


def test_a_part_of_a_level(slide: Path, smear: Smear) -> None:
    pyramid = open_pyramid(slide)
    assert (pyramid.size, pyramid.um_per_px) == ((4000, 3200), UM)
    assert pyramid.level_sizes == ((4000, 3200), (1000, 800))
    part = pyramid.read(1000, 600, 0, (500, 400))
    assert np.abs(part.astype(int) - smear.image[600:1000, 1000:1500]).mean() < 4
    coarse = pyramid.read(1000, 600, 1, (125, 100))
    assert np.abs(coarse.mean((0, 1)) - part.mean((0, 1))).max() < 3
    pyramid.close()


def test_openslide_reads_the_same_and_no_file_that_is_cut_short(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "OpenSlide, the second reader of slides, is not installed"
    pytest.importorskip("openslide", reason=why, exc_type=ImportError)
    first = open_pyramid(slide)
    short = tmp_path / "short.svs"
    _cut_short(short)
    with pytest.raises(SourceError, match=r"is cut short"):
        open_pyramid(short)
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    second = open_pyramid(slide)
    assert (first.level_sizes, first.um_per_px) == (second.level_sizes, second.um_per_px)
    parts = [pyramid.read(1001, 503, 0, (300, 200)) for pyramid in (first, second)]
    assert np.array_equal(*parts)
    first.close()
    second.close()


def test_the_overview_is_the_slide_in_small_with_or_without_levels(
    tmp_path: Path, slide: Path, smear: Smear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heme_edge.frames.where_to_look.STRIP_PX", 200_000)
    flat = write_slide(tmp_path / "flat.svs", smear.image, levels=1)
    views = []
    for path in (slide, flat):
        pyramid = open_pyramid(path)
        views.append(overview(pyramid, 32.0))
        pyramid.close()
    assert [v.shape for v in views] == [(100, 125, 3)] * 2
    expected = smear.image.reshape(100, 32, 125, 32, 3).mean((1, 3))
    for view in views:
        assert np.abs(view.astype(int) - expected).mean() < 4


def test_fields_cover_a_slide_without_gap_or_overlap() -> None:
    covered = np.zeros((317, 1001), int)
    for left, top, right, bottom in cores((1001, 317), 100.0):
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def test_a_coarser_level_is_read_where_it_fits(tmp_path: Path, smear: Smear) -> None:
    """At 0.0625 µm/px crops are cut from the level of 0.25 µm/px; places stay in µm."""
    path = write_slide(tmp_path / "fine.svs", smear.image[:1024, :1024], mpp=0.0625)
    source = WholeSlide(path, cores=[(512, 512, 768, 768)], margin_um=4.0)
    frame = source.read()
    source.close()
    assert source.um_per_px == pytest.approx(0.25)
    assert frame is not None
    assert frame.place is not None
    assert frame.image.shape == (96, 96, 3)
    assert frame.place.x_um == pytest.approx((512 - 64 + 1.5) * 0.0625)


def _glass() -> Image:
    return np.full((2048, 2048, 3), GLASS, np.uint8)


def _cut_short(path: Path) -> None:
    data = write_slide(path, _glass()).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _damaged_tiles(path: Path) -> None:
    """Every tile of the finest level overwritten, sizes and offsets as they were."""
    drawn = draw_smear(1, width_um=400, height_um=400, um_per_px=UM, cells_per_mm2=1700)
    write_slide(path, drawn.image)
    with tifffile.TiffFile(path) as file:
        spans = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    with path.open("r+b") as out:
        for offset, size in spans:
            out.seek(offset)
            out.write(b"\x00" * size)


BAD = {
    "short.svs": (_cut_short, "short.svs"),
    "text.svs": (lambda path: path.write_text("no slide"), "is no whole slide"),
    "empty.svs": (lambda path: path.write_bytes(b""), "is no whole slide"),
    "glass.svs": (lambda path: write_slide(path, _glass()), "shows no tissue"),
    "blur.svs": (
        lambda path: write_slide(path, np.tile(blurred(heap(1), 2.5), (2, 1, 1))),
        "has no field that can be read",
    ),
    "tiles.svs": (_damaged_tiles, "damaged"),
    "tube.mrxs": (lambda path: path.write_bytes(b"x"), "needs OpenSlide"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_slides_are_a_sentence_each(tmp_path: Path, heme_edge: Run, name: str) -> None:
    if name == "tube.mrxs" and find_spec("openslide"):
        pytest.skip("OpenSlide is installed here and says something else")
    make, says = BAD[name]
    make(tmp_path / name)
    plain = ("--backend", "onnxruntime", "--precision", "fp32")  # auto says what it measures first
    done = heme_edge("classify", tmp_path / name, *plain, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p["status"] for p in rows(tmp_path / "out" / "photos.csv")] == ["skipped"]


def test_what_is_a_slide(tmp_path: Path, slide: Path) -> None:
    assert is_slide(slide)
    assert not is_slide(save(tmp_path / "photo.tif", draw_field()))
    many = tmp_path / "two photos.tif"
    tifffile.imwrite(many, np.stack([draw_field(), draw_field()]), photometric="rgb")
    assert not is_slide(many)
    with pytest.raises(SourceError, match="There is no slide"):
        open_pyramid(tmp_path / "missing.svs")


def test_a_slide_as_a_frame_source(slide: Path) -> None:
    source = open_source(str(slide))
    assert isinstance(source, WholeSlide)
    assert source.um_per_px == UM
    source.close()


def test_two_choices_of_one_slide_are_the_same(slide: Path) -> None:
    found = []
    for _ in range(2):
        pyramid = open_pyramid(slide)
        found.append(list(choose(pyramid, UM).best_first(pyramid, UM)))
        pyramid.close()
    assert found[0] == found[1]
    assert len(found[0]) == 12
