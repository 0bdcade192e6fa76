"""The detector as ONNX files, and a bundle with them."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge.bundle import CARD, MANIFEST, Bundle, detector_files
from heme_edge.bundle_writing import write_bundle
from heme_edge.detect.learned import (
    KINDS,
    STRIDE,
    ready,
    spec_of,
)
from heme_edge.detect.working_scale import WORKING_UM_PER_PX, at_working_scale
from heme_edge.errors import HemeError
from heme_edge.sim.compose import Composed
from heme_edge.sim.scoring import Score
from heme_export.card import with_detector
from heme_export.graph import OPSET
from heme_export.least_score import LOOKS_FOR, Groups, clump_score, judged

if TYPE_CHECKING:
    from heme_train.detector.net import CentreNet

FILES = {"fp32": "detector.onnx", "int8": "detector-int8.onnx"}
LARGEST_DIFFERENCE = 1e-3
"""Between what the file and PyTorch say, heats 0..1, radii in µm."""
INT8_LOSS = 0.005
"""Most that INT8 may lose of recall or precision on the fields that judge."""
FLOAT_LAYERS = (0, 1, 2, 3, 5)

Say = Callable[[str], None]


def export_network(network: CentreNet, path: Path) -> None:
    """Writes the fp32 file: ``field`` uint8 ``[1, H, W, 3]`` to ``maps`` ``[1, 6, H/4, W/4]``.

    The maps, float32, are heat of nucleated cells and of platelet clumps (0..1), radius (µm),
    offsets x and y (grid steps), and "too thick to read" (0..1). H and W are multiples of 16.
    """
    import onnx
    import torch
    from torch import Tensor, nn

    class Exported(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, field: Tensor) -> Tensor:
            outputs = self.network(field.permute(0, 3, 1, 2).float())
            heat, radius, offset, thick = torch.split(outputs, [len(KINDS), 1, 2, 1], 1)
            parts = (torch.sigmoid(heat), torch.exp(radius), offset, torch.sigmoid(thick))
            return torch.cat(parts, 1)

    module = Exported().eval()
    example = torch.zeros((1, 64, 64, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), str(path), input_names=["field"], output_names=["maps"],
            dynamic_axes={"field": {1: "H", 2: "W"}, "maps": {2: "h", 3: "w"}},
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    onnx.checker.check_model(onnx.load(path), full_check=True)
    _check(module, path)


def mix_in(path: Path, former: Path, share: float) -> None:
    """Moves the weights of a detector's fp32 file towards those of another, from which it was
    trained on: the mean of both keeps more of what the former could than the new one alone
    (Wortsman et al. 2022, arXiv:2109.01903).

    Args:
        path: the file that is changed.
        former: fp32 file of the same network.
        share: of the former's weights, 0..1.

    Raises:
        HemeError: it is of another network.
    """
    import onnx
    from onnx import numpy_helper

    model, other = onnx.load(path), onnx.load(former)
    held, known = ({t.name: t for t in m.graph.initializer} for m in (model, other))
    pairs = [[n for n in m.graph.node if n.op_type == "Conv"] for m in (model, other)]
    names = [[name for n in some for name in n.input[1:]] for some in pairs]
    shapes = [
        [tuple(table[name].dims) if name in table else None for name in some]
        for table, some in zip((held, known), names, strict=True)
    ]
    if shapes[0] != shapes[1] or None in shapes[0]:
        raise HemeError(
            f"'{former}' is not a detector of the same network.", "the bundle that RUN went on from"
        )
    for name, old in zip(*names, strict=True):
        new, before = numpy_helper.to_array(held[name]), numpy_helper.to_array(known[old])
        mean = (1 - share) * new + share * before
        held[name].CopyFrom(numpy_helper.from_array(mean.astype(np.float32), name))
    onnx.save(model, path)


def _check(module: Any, path: Path) -> None:
    """Raises where the file says something else than PyTorch."""
    import onnxruntime
    import torch

    field = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), np.uint8)
    with torch.no_grad():
        expected = module(torch.from_numpy(field)).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    gap = float(np.abs(session.run(None, {"field": field})[0] - expected).max())
    if gap > LARGEST_DIFFERENCE:
        raise HemeError(f"The detector's ONNX file differs from PyTorch by {gap:.4f}.")


def quantise_network(
    fp32: Path, int8: Path, calibration: Sequence[Composed], groups: Groups, say: Say
) -> bool:
    """Writes the INT8 file (u8 activations, for CPUs).

    The first layers stay in floating point, more and more, until it finds what fp32 finds.

    Returns:
        whether it does; else there is no file.
    """
    from heme_calibration.int8 import WEIGHTED_OPERATORS, depths, load_prepared, quantise
    from heme_calibration.ranges import measure_ranges
    from heme_calibration.shifts import take_off

    given = (ready(at_working_scale(f.image, f.um_per_px))[0] for f in calibration)
    ranges = measure_ranges(fp32, given, ("Percentile",), batch=1)
    wanted = judged(fp32, groups)
    names = [n.name for n in load_prepared(fp32).graph.node if n.op_type in WEIGHTED_OPERATORS]
    for count in FLOAT_LAYERS:
        model = load_prepared(fp32)
        inside = depths(model)
        last = {names[-1]}
        kept = {name for name, depth in inside.items() if depth <= count} | last
        quantise(take_off(model, ranges.shifts, kept), int8, ranges.bounds["Percentile"],
                 "u8-asymmetric", kept, last)  # fmt: skip
        got = judged(int8, groups, (wanted.least,))
        say(f"{int8.name}, {count} float layers: {got.words()}")
        if all(_keeps(got.scores[name], one) for name, one in wanted.scores.items()):
            return True
    int8.unlink()
    return False


def _keeps(got: Score, wanted: Score) -> bool:
    lost = wanted.recall - got.recall, wanted.precision - got.precision
    return max(lost) <= INT8_LOSS


def carry_detector(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Copies a bundle's detector to a folder; returns what the manifest says of it."""
    for name in detector_files(bundle.info):
        shutil.copy(bundle.path / name, folder / name)
    return bundle.info.detector


def bundle_with_detector(
    bundle: Bundle,
    network: CentreNet | None,
    out: Path,
    calibration: Sequence[Composed],
    groups: Groups,
    composed: Sequence[Composed],
    provenance: dict[str, Any],
    say: Say,
    former_share: float = 0.0,
) -> Bundle:
    """Writes a bundle anew with this detector; everything else in it stays as it is.

    Args:
        bundle: the bundle.
        network: the detector; None: the bundle's own, of which the fp32 file is kept.
        out: where to write; may be the bundle's own folder.
        calibration: fields that measure the INT8 ranges, of fold roles.
        groups: fields that the least score is chosen on.
        composed: fields that the least score of platelet clumps is chosen on.
        provenance: how the detector was made.
        say: gets a line now and then.
        former_share: of the weights of the bundle's detector in the mean with the network's.

    Raises:
        HemeError: there is no such detector in the bundle to take a share of.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if network is None:
            shutil.copy(bundle.path / spec_of(bundle).files["fp32"], work / FILES["fp32"])
        else:
            export_network(network, work / FILES["fp32"])
            if former_share:
                former = spec_of(bundle).files["fp32"]
                mix_in(work / FILES["fp32"], bundle.path / former, former_share)
        best = judged(work / FILES["fp32"], groups)
        clumps = clump_score(work / FILES["fp32"], composed)
        say(f"least score {best.least}, of clumps {clumps}: {best.words()}")
        files = dict(FILES)
        paths = work / FILES["fp32"], work / FILES["int8"]
        if not quantise_network(*paths, calibration, groups, say):
            del files["int8"]
        table = {
            "files": files,
            "looks_for": list(LOOKS_FOR),
            "min_score": dict(zip(KINDS.values(), (best.least, clumps), strict=True)),
            "um_per_px": WORKING_UM_PER_PX,
            "stride": STRIDE,
            "measured": {name: one.as_dict() for name, one in best.scores.items()},
            "provenance": {"former_share": former_share} | provenance,
        }
        old = {MANIFEST, *detector_files(bundle.info)}

        def fill(part: Path) -> None:
            for path in bundle.path.iterdir():
                if path.name not in old and path.is_file():
                    shutil.copy(path, part / path.name)
            for name in files.values():
                shutil.copy(work / name, part / name)
            text = (bundle.path / CARD).read_text(encoding="utf-8")
            (part / CARD).write_text(with_detector(text, table), encoding="utf-8")

        return write_bundle(out, replace(bundle.info, detector=table), fill)
