"""A trained detector becomes a part of a bundle, and the rest of the bundle stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from heme_edge.bundle import CARD, load_bundle
from heme_edge.detect import open_detector
from heme_edge.sim.compose import Composed, Marrow, compose
from heme_edge.sim.stock import Stock
from heme_export.card import with_detector
from heme_export.detector import FILES, bundle_with_detector, carry_detector, export_network, judged
from heme_train.detector.net import CentreNet


def drawn(count: int) -> list[Composed]:
    return [
        compose(
            Stock({}), np.random.default_rng(seed), width_px=256, height_px=192, um_per_px=0.5,
            marrow=Marrow(drawn=1.0),
        )
        for seed in range(count)
    ]  # fmt: skip


def test_a_detector_goes_into_a_bundle_and_the_rest_stays(
    bundle_copy: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = load_bundle(bundle_copy)
    said: list[str] = []
    made = bundle_with_detector(
        before, CentreNet().eval(), tmp_path / "made", drawn(16), {"drawn": drawn(2)},
        {"fields": ["bccd/* at 0.072 µm/px, role fit"]}, said.append,
    )  # fmt: skip
    assert said[0].startswith("least score")
    assert made.info.models == before.info.models
    assert made.info.provenance == before.info.provenance
    assert made.info.detector["provenance"]["fields"] == ["bccd/* at 0.072 µm/px, role fit"]
    card = (made.path / CARD).read_text(encoding="utf-8")
    assert card.count("## Detector") == 1
    assert "BCCD dataset" in card
    assert open_detector("learned", made).find(drawn(1)[0].image, 0.5) is not None
    assert (made.path / FILES["fp32"]).read_bytes() != (before.path / FILES["fp32"]).read_bytes()


def test_the_card_loses_the_section_with_the_detector() -> None:
    assert with_detector("text\n\n## Detector\n\nold\n", {}) == "text\n"


def test_the_detector_is_carried_along(tmp_path: Path) -> None:
    bundle = load_bundle()
    assert carry_detector(bundle, tmp_path) == bundle.info.detector
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES.values())


def test_an_untrained_network_is_judged_as_finding_little(tmp_path: Path) -> None:
    export_network(CentreNet().eval(), tmp_path / "d.onnx")
    found = judged(tmp_path / "d.onnx", {"drawn": drawn(1)}, (0.5,))
    assert found.f1 < 0.5
    assert found.least == pytest.approx(0.5)
    assert "drawn: recall" in found.words()
