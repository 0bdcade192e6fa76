"""A bundle's files in every precision, made from its fp32 file and judged on ``confidence``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from heme_calibration.choose import Probabilities, difference, fewest_float_layers
from heme_calibration.int8 import depths, load_prepared, quantise
from heme_calibration.ranges import Ranges
from heme_calibration.shifts import take_off
from heme_edge.backends.onnxruntime_cpu import OnnxRuntimeBackend
from heme_edge.bundle import Bundle, BundleInfo, ModelFile
from heme_edge.errors import HemeError
from heme_export.graph import OPSET
from heme_export.half import HALF, half_nodes, to_half
from heme_export.tolerances import GOALS, Compared, compare, losses
from heme_train.data import Crop, CropSet
from heme_train.evaluate import predict

HALF_OPSET = 19
"""The first in which Q/DQ take half precision."""
FP32, FP16 = "fp32.onnx", "fp16.onnx"
INT8, SYMMETRIC, MIXED = "int8.onnx", "int8-symmetric.onnx", "int8-symmetric-fp16.onnx"
FILES = {
    FP32: ModelFile(FP32, "fp32", "float", OPSET, 1e-3),
    FP16: ModelFile(FP16, "fp16", "float", OPSET, 0.01),
    INT8: ModelFile(INT8, "int8", "u8-asymmetric", OPSET, 0.004),
    SYMMETRIC: ModelFile(SYMMETRIC, "int8", "s8-symmetric", OPSET, 0.004),
    MIXED: ModelFile(MIXED, "int8", "s8-symmetric-fp16", HALF_OPSET, 0.004),
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


@dataclass(frozen=True)
class Chosen:
    """How many of its first layers a file keeps, and its agreement with fp32 on ``confidence``."""

    float_layers: int
    agreement: float


class Maker:
    """Writes the files of one bundle.

    Args:
        folder: where ``fp32.onnx`` lies and the others go.
        info: its ``models`` are what is written.
        crops, judges: crops of role ``confidence``, on which files are judged.
        say: told what was chosen.

    Attributes:
        chosen: by file: the method of its ranges, how many float layers, its agreement.
    """

    def __init__(
        self, folder: Path, info: BundleInfo, crops: CropSet, judges: Sequence[Crop],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.folder, self.info, self.crops, self.judges, self.say = folder, info, crops, judges, say
        self.chosen: dict[str, dict[str, Any]] = {}
        self._prepared = load_prepared(folder / FP32)
        self._depths = depths(self._prepared)
        self._expected = self._judge(FP32)
        self._half_layers = 0

    def write(self, ranges: Ranges | None) -> None:
        """Every file of ``info.models``; ``ranges`` where there is an INT8 one among them."""
        wanted = {m.file for m in self.info.models}
        if FP16 in wanted:
            self._write_half()
        if ranges is not None:
            self._write_int8_files(ranges, wanted)

    def _write_half(self) -> None:
        import onnx

        def make(kept: int) -> None:
            onnx.save(to_half(self._prepared, kept), self.folder / FP16)

        chosen = self._choose(FP16, make)
        self._half_layers = chosen.float_layers
        self._note(FP16, chosen, "")

    def _write_int8_files(self, ranges: Ranges, wanted: set[str]) -> None:
        """``int8.onnx`` by the method that needs fewest float layers, the others by it too."""
        found = {}
        for method in ranges.bounds:
            self.say(f"ranges by {method}")
            found[method] = self._choose(INT8, partial(self._quantise, INT8, ranges, method))
        method = min(found, key=lambda m: (found[m].float_layers, -found[m].agreement))
        self._quantise(INT8, ranges, method, found[method].float_layers)
        self._note(INT8, found[method], method)
        for file in (SYMMETRIC, MIXED):
            if file in wanted:
                chosen = self._choose(file, partial(self._quantise, file, ranges, method))
                self._note(file, chosen, method)

    def _note(self, file: str, chosen: Chosen, method: str) -> None:
        self.chosen[file] = asdict(chosen) | ({"method": method} if method else {})

    def _quantise(self, file: str, ranges: Ranges, method: str, kept: int) -> None:
        """Writes it. In the mixed file what is single precision in fp16.onnx stays so."""
        single = {name for name, depth in self._depths.items() if depth <= kept}
        bounds = ranges.bounds[method]
        if file == MIXED:
            single |= self._depths.keys() - half_nodes(self._prepared, self._half_layers)
        model = take_off(self._prepared, ranges.shifts, single)
        if file == MIXED:
            from onnx import version_converter

            newer = version_converter.convert_version(model, HALF_OPSET)
            model = to_half(newer, self._half_layers)
            bounds = bounds | {name + HALF: both for name, both in bounds.items()}
        quantise(model, self.folder / file, bounds, FILES[file].scheme, single)

    def _choose(self, file: str, make: Callable[[int], None]) -> Chosen:
        """Writes the file with as few float layers as its goal allows; with more than half of
        them it would not be what its name says."""
        import onnx

        goal = GOALS[FILES[file].precision]

        def said(kept: int) -> Probabilities:
            make(kept)
            onnx.checker.check_model(str(self.folder / file), full_check=True)
            return self._judge(file)

        def holds(probabilities: Probabilities) -> bool:
            return not losses(self._compare(probabilities), goal)

        layers = max(self._depths.values())
        kept, probabilities = fewest_float_layers(layers // 2, said, holds)
        agreement = difference(probabilities, self._expected).agreement
        self.say(
            f"{file}: {agreement:.2%} of the labels are the same, the first {kept} of "
            f"{layers} layers in single precision"
        )
        return Chosen(kept, agreement)

    def _compare(self, probabilities: Probabilities) -> Compared:
        truth = [c.code for c in self.judges]
        codes = [c.code for c in self.info.classes]
        return compare(probabilities, self._expected, truth, codes)

    def _judge(self, file: str) -> Probabilities:
        backend = open_file(self.folder, self.info, FILES[file])
        try:
            return predict(backend, self.crops, self.judges)
        finally:
            backend.close()
