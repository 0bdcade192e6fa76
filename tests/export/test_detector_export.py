"""A trained detector becomes a part of a bundle, and the rest of the bundle stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from heme_edge.bundle import CARD, load_bundle
from heme_edge.detect import open_detector
from heme_edge.sim.compose import Composed, Marrow, compose
from heme_edge.sim.stock import Stock
from heme_export.card import with_detector
from heme_export.detector import (
    FILES,
    bundle_with_detector,
    carry_detector,
    export_network,
    mix_in,
)
from heme_export.least_score import CLUMP_SCORES, clump_score, judged
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
        before, CentreNet().eval(), tmp_path / "made", drawn(16), {"drawn": drawn(2)}, drawn(2),
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


def test_the_int8_file_of_a_bundles_own_detector_is_made_anew(tmp_path: Path) -> None:
    before = load_bundle()
    provenance = before.info.detector["provenance"]
    made = bundle_with_detector(
        before, None, tmp_path / "made", drawn(16), {"drawn": drawn(2)}, drawn(2), provenance, print
    )
    assert (made.path / FILES["fp32"]).read_bytes() == (before.path / FILES["fp32"]).read_bytes()
    assert (made.path / FILES["int8"]).read_bytes() != (before.path / FILES["int8"]).read_bytes()
    assert made.info.detector["provenance"] == provenance
    for bundle in (made, before):
        graph = onnx.load(bundle.path / FILES["int8"]).graph
        makers = {name: node.op_type for node in graph.node for name in node.output}
        layers = [node for node in graph.node if node.op_type == "Conv"]
        assert {makers[node.input[0]] for node in layers} == {"DequantizeLinear"}, (
            "the layer before one that is given single precision runs in it"
        )
        assert makers.get(layers[-1].input[1]) is None, "the last keeps its weights"
    field = drawn(1)[0].image
    found = [len(open_detector("learned", made, p).find(field, 0.5)) for p in ("int8", "fp32")]
    assert found[0] == found[1] > 0


def test_a_share_of_the_former_detector_is_mixed_in(tmp_path: Path) -> None:
    former = load_bundle().path / FILES["fp32"]
    field = np.ascontiguousarray(drawn(1)[0].image[:128, :128])[None]

    def says(path: Path) -> np.ndarray:
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"field": field})[0])

    torch.manual_seed(0)
    network, new = CentreNet().eval(), tmp_path / "new.onnx"
    for parameter in network.parameters():  # equal ones would become one tensor in the file
        parameter.data += 0.01 * torch.randn_like(parameter)
    for share, wanted in ((0.0, None), (1.0, former)):
        export_network(network, new)
        alone = says(new)
        mix_in(new, former, share)
        assert np.allclose(says(new), alone if wanted is None else says(wanted), atol=1e-4)


def test_clumps_have_a_least_score_of_their_own() -> None:
    assert clump_score(load_bundle().path / FILES["fp32"], drawn(2)) in CLUMP_SCORES
    stated = load_bundle().info.detector["min_score"]
    assert stated["platelet-clump"] > stated["cell"]


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
