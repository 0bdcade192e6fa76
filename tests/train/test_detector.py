"""The detector's training: samples say where cells are, and a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from heme_edge.bundle import load_bundle
from heme_edge.detect.learned import peaks
from heme_edge.errors import HemeError
from heme_edge.sim.recipes import NORMAL_MARROW
from heme_edge.sim.stock import Stock
from heme_train.data import Crop, CropSet
from heme_train.detector.fields import (
    NOTHING,
    UNKNOWN,
    Field,
    Labelled,
    composed_draw,
    labelled_draw,
    mosaic_draw,
    read_labelled,
)
from heme_train.detector.fit import (
    DetectorRecipe,
    fit_detector,
    load_detector,
    provenance_of,
)
from heme_train.detector.loss import detection_loss
from heme_train.detector.net import OUTPUTS, CentreNet
from heme_train.detector.samples import SIDE_PX, Source, sample_of, target_of
from heme_train.labelled_fields import Fields
from tests.conftest import draw_cell, draw_field, save


def known(side: int = SIDE_PX) -> np.ndarray:
    return np.ones((side, side), np.bool_)


def test_the_decoder_reads_what_the_target_says() -> None:
    cells = np.array([[40.3, 60.8, 12.0, 0], [100.0, 61.5, 9.0, 0], [170.2, 200.6, 14.0, 1]])
    target = target_of(cells.astype(np.float32), known(), ~known())
    maps = np.concatenate([target[:2], np.exp(target[2:3]), target[3:5], target[5:6]])
    for kind, wanted in ((0, cells[:2]), (1, cells[2:])):
        found = sorted(peaks(maps, kind, 0.9).tolist())
        assert len(found) == len(wanted)
        for peak, (x, y, radius, _) in zip(found, wanted, strict=True):
            assert tuple(peak[:2]) == pytest.approx((x, y), abs=0.01)
            assert peak[2] == pytest.approx(radius, rel=0.01)


def test_what_is_not_known_does_not_count() -> None:
    cells = np.array([[128.0, 128.0, 40.0, UNKNOWN]], np.float32)
    target = target_of(cells, known(), ~known())
    assert target[0].max() == 0
    assert target[6, 32, 32] == 0
    assert target[6, 0, 0] == 1
    outputs = torch.zeros(1, OUTPUTS, 64, 64)
    loud = outputs.clone()
    loud[0, 0, 30:34, 30:34] = 9.0
    batch = torch.from_numpy(target[None])
    assert detection_loss(loud, batch) == detection_loss(outputs, batch)


def test_turning_a_sample_turns_its_target() -> None:
    """Wherever the cut goes, dark nuclei lie where the target has its peaks."""
    image = draw_field(600, 500, 0.5)
    spots = [(0.2, 0.25), (0.5, 0.25), (0.8, 0.25), (0.2, 0.75), (0.5, 0.75), (0.8, 0.75)]
    cells = np.array([[x * 600, y * 500, 13.0, 0] for x, y in spots], np.float32)
    blank = np.zeros((500, 600), np.bool_)
    field = Field(image, 0.5, cells, ~blank, blank)
    seen = 0
    for seed in range(12):
        inputs, target = sample_of(field, np.random.default_rng(seed))
        assert inputs.shape == (3, SIDE_PX, SIDE_PX)
        for row, column in zip(*np.nonzero(target[0] == 1.0), strict=True):
            seen += 1
            assert inputs[1, row * 4 + 1, column * 4 + 1] < 120
    assert seen > 10


def test_small_labelled_fields_are_mirrored_with_their_boxes(tmp_path: Path) -> None:
    save(tmp_path / "a" / "one.png", draw_field(320, 240, 0.25))
    (tmp_path / "labels.csv").write_text(
        "file,label,x0,y0,x1,y1\na/one.png,wbc,38,34,90,86\na/one.png,platelets,1,1,9,9\n"
    )
    (tmp_path / "split.csv").write_text("file,role\na/one.png,fit\na/two.png,test\n")
    (field,) = read_labelled(
        Fields(tmp_path, tmp_path / "labels.csv", tmp_path / "split.csv", "fit", "wbc", "a/*", 0.25)
    )
    assert field.boxes.tolist() == [[38, 34, 90, 86]]
    drawn = labelled_draw([field])(np.random.default_rng(1))
    assert min(drawn.image.shape[:2]) >= 288
    assert len(drawn.objects) >= 4
    for x, y, radius, _ in drawn.objects:
        assert 4 < radius < 20
        assert drawn.image[round(y), round(x)].astype(int).sum() < 560


@pytest.mark.parametrize(
    ("labels", "split", "said"),
    [
        ("file,label,x0,y0,x1,y1\n", "file,role\na/one.png,test\n", "No field has the role"),
        ("file,label,x0\na/one.png,wbc,3\n", "file,role\na/one.png,fit\n", "no table"),
        ("file,label,x0,y0,x1,y1\na/one.png,wbc,x,1,2,3\n", "file,role\n", "no table"),
        ("file,label,x0,y0,x1,y1\n", "name,role\na/one.png,fit\n", "no column 'file'"),
        ("file,label,x0,y0,x1,y1\n", "file,role\na/one.png,fit\n", "cannot be opened"),
    ],
)
def test_bad_tables_are_one_sentence(tmp_path: Path, labels: str, split: str, said: str) -> None:
    (tmp_path / "labels.csv").write_text(labels)
    (tmp_path / "split.csv").write_text(split)
    tables = tmp_path / "labels.csv", tmp_path / "split.csv"
    with pytest.raises(HemeError, match=said):
        read_labelled(Fields(tmp_path, *tables, "fit", "wbc", "*", 0.25))


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HemeError, match=r"holds no detector\.pt"):
        load_detector(tmp_path)
    with pytest.raises(HemeError, match="cannot be read"):
        provenance_of(tmp_path)


def test_mosaics_know_only_the_middle_of_their_crops(tmp_path: Path) -> None:
    from heme_train.data import open_crops

    for code in ("M1", "PL", "U1"):
        save(tmp_path / code / "slide" / "0.png", draw_cell(128))
    read = open_crops(tmp_path)
    crops = CropSet([Crop(c.file, c.code, c.group, c.source, "fold0") for c in read.crops],
                    read.places)  # fmt: skip
    draw = mosaic_draw(crops, {"M1": 0, "PL": NOTHING, "U1": UNKNOWN}, ("fold0",), 256)
    field = draw(np.random.default_rng(0))
    assert 0 < field.known.mean() < 0.25
    assert set(field.objects[:, 3].tolist()) == {0.0}
    assert all(field.known[round(y), round(x)] for x, y, *_ in field.objects)


def source() -> Source:
    return Source(composed_draw(Stock({}), dict(NORMAL_MARROW), 288), 1.0)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    recipe = DetectorRecipe(steps=4, batch=2, workers=0, every=1)

    def killed(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_detector([source()], recipe, tmp_path, killed)
    network = fit_detector([source()], recipe, tmp_path, said.append)
    assert [line.split(":")[0] for line in said] == [f"step {k} of 4" for k in (1, 2, 3, 4)]
    again = load_detector(tmp_path)
    field = torch.zeros(1, 3, 64, 64)
    assert torch.allclose(network(field), again(field), atol=1e-5)
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(HemeError, match="other settings"):
        fit_detector([source()], replace(recipe, batch=3), tmp_path, said.append)


def test_training_goes_on_from_the_detector_of_a_bundle(tmp_path: Path) -> None:
    bundle = load_bundle().path
    recipe = DetectorRecipe(steps=1, batch=2, rate=1e-9, decay=0.0, workers=0, weights=str(bundle))
    network = fit_detector([source()], recipe, tmp_path, print)
    session = InferenceSession(bundle / "detector.onnx", providers=["CPUExecutionProvider"])
    field = np.ascontiguousarray(draw_field(256, 192))[None]
    (maps,) = session.run(None, {"field": field})
    with torch.no_grad():
        outputs = network(torch.from_numpy(field).permute(0, 3, 1, 2).float())
    assert np.abs(torch.sigmoid(outputs[:, :2]).numpy() - maps[:, :2]).max() < 0.02


def test_the_network_fits_what_it_is_shown() -> None:
    """A few steps on one field: the loss falls by half."""
    torch.manual_seed(0)
    network = CentreNet()
    inputs, target = sample_of(source().draw(np.random.default_rng(0)), np.random.default_rng(0))
    batch = torch.from_numpy(inputs[None]), torch.from_numpy(target[None])
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = detection_loss(network(batch[0]), batch[1])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs lack it
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_labelled_fields_of_a_camera(heme_data: Path, tmp_path: Path) -> None:
    """Real fields: the boxes lie on dark nuclei after scaling and mirroring."""
    import tarfile

    fields = heme_data / "fields"
    with tarfile.open(fields / "fields.tar") as tar:
        names = [m for m in tar.getmembers() if m.name.startswith("bccd/")][:40]
        tar.extractall(tmp_path, names, filter="data")
    (tmp_path / "split.csv").write_text("file,role\n" + "".join(f"{m.name},fit\n" for m in names))
    tables = fields / "annotations.csv", tmp_path / "split.csv"
    read = read_labelled(Fields(tmp_path, *tables, "fit", "wbc", "*", 0.072))
    assert isinstance(read[0], Labelled)
    drawn = labelled_draw(read)(np.random.default_rng(3))
    height, width = drawn.image.shape[:2]
    inner = [(round(y), round(x)) for x, y, *_ in drawn.objects if 6 < x < width - 6 and y > 6]
    red = [drawn.image[y - 5 : y + 6, x - 5 : x + 6, 0].min() for y, x in inner if y < height - 6]
    assert np.mean(np.array(red) < 190) > 0.8
