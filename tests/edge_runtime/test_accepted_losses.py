"""A loss accepted at export is told wherever the bundle or its results are shown."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.bundle import load_bundle
from heme_edge.draw import annotate
from heme_edge.errors import BundleError
from heme_edge.notices import loss_lines, losses_in_short, notice
from tests.conftest import LOSS, Run, draw_cell, draw_field, save, with_accepted

SAID = f"Accepted at export: {LOSS}"
ONE_BACKEND = ("--backend", "onnxruntime", "--precision", "fp32")


@pytest.fixture
def lossy_bundle(bundle_copy: Path) -> Path:
    return with_accepted(bundle_copy, [LOSS])


def test_a_bundle_without_losses_says_nothing_more(bundle_copy: Path) -> None:
    assert load_bundle(bundle_copy).accepted_losses == ()
    assert load_bundle(with_accepted(bundle_copy, [])).accepted_losses == ()
    assert notice(()) == RESEARCH_USE_ONLY
    assert loss_lines(()) == []
    assert losses_in_short(()) == ""


def test_every_loss_is_a_line_after_the_notice(bundle_copy: Path) -> None:
    losses = load_bundle(with_accepted(bundle_copy, [LOSS, "fp16: another."])).accepted_losses
    assert losses == (LOSS, "fp16: another.")
    expected = [RESEARCH_USE_ONLY, SAID, "Accepted at export: fp16: another."]
    assert notice(losses).splitlines() == expected
    assert losses_in_short(losses) == "accepted losses: 2, see heme-edge doctor"


@pytest.mark.parametrize("wrong", [None, LOSS, {LOSS: 1}, [LOSS, 3], [[LOSS]], ["a\nname: 1"]])
def test_losses_that_are_no_list_of_sentences_are_refused(bundle_copy: Path, wrong: object) -> None:
    with pytest.raises(BundleError, match="accepted losses are not a list of sentences"):
        load_bundle(with_accepted(bundle_copy, wrong))


def test_classify(lossy_bundle: Path, tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_cell())
    options = ("--crops", "--bundle", lossy_bundle, "--out", tmp_path / "out", *ONE_BACKEND)
    done = heme_edge("classify", tmp_path / "in", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{RESEARCH_USE_ONLY}\n{SAID}\n")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["accepted_losses"] == [LOSS]


def test_classify_of_a_bundle_without_losses(tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "in" / "a.png", draw_cell())
    done = heme_edge("classify", tmp_path / "in", "--crops", "--out", tmp_path / "out")
    assert done.stdout.endswith(f"{RESEARCH_USE_ONLY}\n")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["accepted_losses"] == []


def test_live_headless(lossy_bundle: Path, tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "photos" / "a.png", draw_field())
    options = ("--headless", "--um-per-px", "0.25", "--bundle", lossy_bundle, *ONE_BACKEND)
    done = heme_edge("live", "--camera", tmp_path / "photos", *options)
    assert done.returncode == 0, done.stderr
    assert f"{RESEARCH_USE_ONLY}\n{SAID}\n" in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["accepted_losses"] == [LOSS]


def test_live_with_a_picture(lossy_bundle: Path, tmp_path: Path, heme_edge: Run) -> None:
    save(tmp_path / "photos" / "a.png", draw_field())
    heights = {}
    for name, options in (("plain", ()), ("lossy", ("--bundle", lossy_bundle))):
        picture = tmp_path / f"{name}.png"
        camera = ("--camera", tmp_path / "photos", "--um-per-px", "0.25", "--picture", picture)
        done = heme_edge("live", *camera, *options, *ONE_BACKEND)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{RESEARCH_USE_ONLY}\n{SAID}\n") == (2 if options else 0)
        image = cv2.imread(str(picture))
        assert image is not None
        heights[name] = image.shape[0]
    assert heights == {"plain": 480 + 26, "lossy": 480 + 52}


def test_the_picture_has_a_second_banner_that_fits() -> None:
    field = draw_field(width=400)
    plain, lossy = annotate(field, [], "0.25 um/px"), annotate(field, [], "0.25 um/px", [LOSS])
    assert np.array_equal(plain, lossy[: len(plain)])
    second = lossy[len(plain) :]
    assert second.shape == (26, 400, 3)
    written = np.flatnonzero((second > 200).any(axis=(0, 2)))
    assert 0 < written[0] < written[-1] < 395, "nothing of it is cut off"


def test_doctor(lossy_bundle: Path, heme_edge: Run) -> None:
    done = heme_edge("doctor", "--bundle", lossy_bundle)
    assert done.returncode == 0, done.stderr
    bundle = done.stdout.partition("\nBundle\n")[2].partition("\n\n")[0]
    assert f"  {SAID}" in bundle.splitlines()
    assert "Accepted at export" not in heme_edge("doctor").stdout


def test_doctor_names_a_damaged_list(bundle_copy: Path, heme_edge: Run) -> None:
    done = heme_edge("doctor", "--bundle", with_accepted(bundle_copy, [3]))
    assert done.returncode == 1
    assert "accepted losses are not a list of sentences" in done.stdout
    assert "Traceback" not in done.stderr
