"""The detector as ONNX files, and a bundle with them."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_edge.bundle import MANIFEST, Bundle, detector_files
from heme_edge.bundle_writing import write_bundle
from heme_edge.detect.classical import WORKING_UM_PER_PX
from heme_edge.detect.learned import (
    KINDS,
    STRIDE,
    DetectorSpec,
    LearnedDetector,
    ready,
)
from heme_edge.errors import HemeError
from heme_edge.sim.compose import Composed
from heme_edge.sim.scoring import Score, score
from heme_export.graph import OPSET

if TYPE_CHECKING:
    from heme_train.detector.net import CentreNet

FILES = {"fp32": "detector.onnx", "int8": "detector-int8.onnx"}
LOOKS_FOR = ("nucleated cells", "mitotic figures", "megakaryocytes and other large cells",
             "platelet clumps")  # fmt: skip
"""Red cells and single platelets are not looked for."""
LARGEST_DIFFERENCE = 1e-3
"""Between what the file and PyTorch say, heats 0..1, radii in µm."""
INT8_LOSS = 0.005
"""Most that INT8 may lose of recall or precision on the fields that judge."""
SCORES = tuple(np.round(np.arange(0.2, 0.66, 0.05), 2))
WORKING_FLOAT_LAYERS = (0, 1, 2, 3, 5)

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


@dataclass(frozen=True)
class _Judged:
    least: float
    score: Score


def judged(model: Path, fields: Sequence[Composed], scores: Sequence[float] = SCORES) -> _Judged:
    """The least score with which a file finds cells best (F1), and how well that is."""
    spec = DetectorSpec(LOOKS_FOR, (min(scores), min(scores)), {})
    detector = LearnedDetector(model, spec)
    finds = [detector.find(f.image, f.um_per_px) for f in fields]
    found = [
        _Judged(
            float(least),
            sum((score(f, [c for c in cells if c.score >= least])
                 for f, cells in zip(fields, finds, strict=True)), Score()),
        )
        for least in scores
    ]  # fmt: skip
    return max(found, key=lambda one: one.score.f1)


def quantise_network(
    fp32: Path, int8: Path, calibration: Sequence[Composed], fields: Sequence[Composed], say: Say
) -> bool:
    """Writes the INT8 file (u8 activations, for CPUs).

    The first layers stay in floating point, more and more, until it finds what fp32 finds.

    Returns:
        whether it does; else there is no file.
    """
    from heme_calibration.int8 import WEIGHTED_OPERATORS, depths, load_prepared, quantise
    from heme_calibration.ranges import measure_ranges
    from heme_calibration.shifts import take_off

    given = (ready(f.image, f.um_per_px)[0] for f in calibration)
    ranges = measure_ranges(fp32, given, ("Percentile",), batch=1)
    wanted = judged(fp32, fields)
    names = [n.name for n in load_prepared(fp32).graph.node if n.op_type in WEIGHTED_OPERATORS]
    for count in WORKING_FLOAT_LAYERS:
        model = load_prepared(fp32)
        inside = depths(model)
        kept = {name for name, depth in inside.items() if depth <= count} | {names[-1]}
        quantise(take_off(model, ranges.shifts, kept), int8, ranges.bounds["Percentile"],
                 "u8-asymmetric", kept)  # fmt: skip
        got = judged(int8, fields, (wanted.least,)).score
        say(f"{int8.name}, {count} float layers: {_told(got)}")
        lost = wanted.score.recall - got.recall, wanted.score.precision - got.precision
        if max(lost) <= INT8_LOSS:
            return True
    int8.unlink()
    return False


def carry_detector(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Copies a bundle's detector to a folder; returns what the manifest says of it."""
    for name in detector_files(bundle.info):
        shutil.copy(bundle.path / name, folder / name)
    return bundle.info.detector


def _told(score: Score) -> str:
    return f"recall {score.recall:.4f}, precision {score.precision:.4f}"


def bundle_with_detector(
    bundle: Bundle,
    network: CentreNet,
    out: Path,
    calibration: Sequence[Composed],
    fields: Sequence[Composed],
    provenance: dict[str, Any],
    say: Say,
) -> Bundle:
    """Writes a bundle anew with this detector; everything else in it stays as it is.

    Args:
        bundle: the bundle.
        network: the detector.
        out: where to write; may be the bundle's own folder.
        calibration: fields that measure the INT8 ranges, of fold roles.
        fields: fields that the least score is chosen on, of role ``confidence``.
        provenance: how the detector was made.
        say: gets a line now and then.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        export_network(network, work / FILES["fp32"])
        best = judged(work / FILES["fp32"], fields)
        say(f"least score {best.least}: {_told(best.score)}")
        files = dict(FILES)
        if not quantise_network(
            work / FILES["fp32"], work / FILES["int8"], calibration, fields, say
        ):
            del files["int8"]
        table = {
            "files": files,
            "looks_for": list(LOOKS_FOR),
            "min_score": dict.fromkeys(KINDS.values(), best.least),
            "um_per_px": WORKING_UM_PER_PX,
            "stride": STRIDE,
            "measured": best.score.as_dict(),
            "provenance": provenance,
        }
        old = {MANIFEST, *detector_files(bundle.info)}

        def fill(part: Path) -> None:
            for path in bundle.path.iterdir():
                if path.name not in old and path.is_file():
                    shutil.copy(path, part / path.name)
            for name in files.values():
                shutil.copy(work / name, part / name)

        return write_bundle(out, replace(bundle.info, detector=table), fill)
