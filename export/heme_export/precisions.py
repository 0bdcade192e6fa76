"""The files of a bundle in every precision, made from its fp32 file and proved on ``confidence``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heme_calibration.choose import Choice, Probabilities, difference, fewest_float_layers
from heme_calibration.int8 import layers, load_prepared, quantise
from heme_calibration.ranges import Ranges
from heme_edge.backends.onnxruntime_cpu import OnnxRuntimeBackend
from heme_edge.bundle import Bundle, BundleInfo, ModelFile
from heme_edge.errors import HemeError
from heme_export.graph import OPSET
from heme_export.half import HALF, half_nodes, to_half
from heme_export.tolerances import GOALS, compare, losses
from heme_train.data import Crop, CropSet
from heme_train.evaluate import predict

HALF_OPSET = 19
"""The first in which Q/DQ take half precision."""
FP32, FP16 = "fp32.onnx", "fp16.onnx"
INT8, SYMMETRIC, MIXED = "int8.onnx", "int8-symmetric.onnx", "int8-symmetric-fp16.onnx"
FILES = {
    FP32: ModelFile(FP32, "fp32", "float", OPSET, 1e-3),
    FP16: ModelFile(FP16, "fp16", "float", OPSET, 0.01),
    INT8: ModelFile(INT8, "int8", "u8-asymmetric", OPSET, 0.02),
    SYMMETRIC: ModelFile(SYMMETRIC, "int8", "s8-symmetric", OPSET, 0.02),
    MIXED: ModelFile(MIXED, "int8", "s8-symmetric-fp16", HALF_OPSET, 0.02),
}
"""Every file a bundle can hold; ``tolerance`` is the smallest it is given."""


def files_of(precisions: Sequence[str]) -> tuple[ModelFile, ...]:
    """The files of these precisions; the mixed one where both fp16 and int8 are asked for.

    Raises:
        HemeError: a precision is unknown, or fp32 is missing.
    """
    known = {m.precision for m in FILES.values()}
    for precision in precisions:
        if precision not in known:
            raise HemeError(
                f"There is no precision '{precision}'.", "--precision fp32,fp16,int8 or fewer"
            )
    if "fp32" not in precisions:
        raise HemeError("A bundle needs fp32, which every check is against.", "--precision fp32,…")
    mixed = {"fp16", "int8"} <= set(precisions)
    return tuple(
        m for m in FILES.values() if m.precision in precisions and (m.file != MIXED or mixed)
    )


def open_file(folder: Path, info: BundleInfo, model: ModelFile) -> OnnxRuntimeBackend:
    """A file of a bundle that is being made, before its manifest is written."""
    alone = Bundle(folder, info, "")
    return OnnxRuntimeBackend(alone, model.precision, schemes=(model.scheme,))


@dataclass
class Maker:
    """Writes the files of one bundle.

    Attributes:
        folder: where ``fp32.onnx`` lies and the others go.
        info: its ``models`` are what is written.
        crops, judges: crops of role ``confidence`` in random order, on which files are judged.
        say: told what was chosen.
        chosen: by file: the method of its ranges, its float layers, its agreement.
    """

    folder: Path
    info: BundleInfo
    crops: CropSet
    judges: Sequence[Crop]
    say: Callable[[str], None]
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prepared = load_prepared(self.folder / FP32)
        self._layers = layers(self._prepared)
        self._expected = self._judge(self.folder / FP32, len(self.judges))
        self._half_layers = 0
        self._ranking: tuple[str, ...] = ()

    def write(self, ranges: Ranges | None) -> None:
        """Every file of ``info.models``; ``ranges`` where there is an INT8 one among them."""
        wanted = {m.file for m in self.info.models}
        if FP16 in wanted:
            self._write_half()
        if ranges is not None:
            method = self._best_method(ranges)
            for file in (INT8, SYMMETRIC, MIXED):
                if file in wanted:
                    self._write_int8(file, ranges, method)

    def _write_half(self) -> None:
        choice = self._choose(
            FP16, lambda kept: to_half(self._prepared, len(kept)), self._layers
        )
        self._half_layers = len(choice.float_layers)

    def _best_method(self, ranges: Ranges) -> str:
        """Of the measured ranges those with which most labels stay, no layer being left out."""
        found = {}
        for method in ranges.bounds:
            self._quantised(INT8, ranges, method, frozenset())
            said = self._judge(self.folder / INT8, len(self.judges))
            d = difference(said, self._expected)
            found[method] = (d.agreement, -d.mean)
            self.say(f"int8, ranges by {method}: {d.agreement:.2%} of the labels are the same")
        (self.folder / INT8).unlink()
        return max(found, key=lambda method: found[method])

    def _write_int8(self, file: str, ranges: Ranges, method: str) -> None:
        choice = self._choose(
            file, lambda kept: self._quantised(file, ranges, method, kept), self._ranking
        )
        self._ranking = choice.ranking
        self.chosen[file]["method"] = method

    def _quantised(self, file: str, ranges: Ranges, method: str, kept: frozenset[str]) -> None:
        """Writes it. In the mixed file what is single precision in fp16.onnx stays so."""
        model, bounds = copy.deepcopy(self._prepared), ranges.bounds[method]
        if file == MIXED:
            from onnx import version_converter

            newer = version_converter.convert_version(model, HALF_OPSET)
            half = half_nodes(newer, self._half_layers)
            kept |= {n.name for n in newer.graph.node} - half
            model = to_half(newer, self._half_layers)
            bounds = bounds | {name + HALF: both for name, both in bounds.items()}
        quantise(model, self.folder / file, bounds, FILES[file].scheme, kept)

    def _choose(
        self, file: str, make: Callable[[frozenset[str]], Any], ranking: Sequence[str]
    ) -> Choice:
        """The file with as few float layers as its goal allows."""
        import onnx

        path, goal = self.folder / file, GOALS[FILES[file].precision]

        def write(kept: frozenset[str]) -> Path:
            model = make(kept)
            if model is not None:
                onnx.save(model, path)
            onnx.checker.check_model(str(path), full_check=True)
            return path

        def holds(probabilities: Probabilities) -> bool:
            return not losses(self._compare(probabilities), goal)

        choice = fewest_float_layers(
            self._layers, write, self._judge, self._expected, holds, ranking
        )
        agreement = difference(choice.probabilities, self._expected).agreement
        self.chosen[file] = {
            "float_layers": list(choice.float_layers),
            "confidence_agreement": agreement,
        }
        left = ", ".join(choice.float_layers) or "none"
        self.say(f"{file}: {agreement:.2%} of the labels are the same; float layers: {left}")
        return choice

    def _compare(self, probabilities: Probabilities) -> Any:
        truth = [c.code for c in self.judges]
        return compare(probabilities, self._expected, truth, [c.code for c in self.info.classes])

    def _judge(self, path: Path, count: int) -> Probabilities:
        backend = open_file(self.folder, self.info, FILES[path.name])
        try:
            return predict(backend, self.crops, self.judges[:count])
        finally:
            backend.close()
