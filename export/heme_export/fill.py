"""The contents of a bundle, from its fp32 file: other precisions, reference, figures, card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_calibration.choose import Probabilities
from heme_calibration.crops import folder_crops
from heme_calibration.ranges import METHODS, Ranges, load_ranges, measure_ranges, save_ranges
from heme_edge.bundle import CARD, CONFUSION, REFERENCE, BundleInfo, ModelFile
from heme_edge.cells import DEEPHEME_CODES
from heme_edge.crops import Image
from heme_edge.photos import byte_hash
from heme_export import card, certificate
from heme_export.measured import Measured, measure, write_confusion
from heme_export.optics import training_optics
from heme_export.precisions import FILES, FP32, Maker, open_file
from heme_export.reference import simulated_crops
from heme_train.data import Crop, CropSet, draw_weights
from heme_train.evaluate import crop_image

if TYPE_CHECKING:
    from torch import nn

RANGES = "ranges.json"


@dataclass(frozen=True)
class Options:
    """What ``heme-export bundle`` was asked for.

    Attributes:
        name: of the bundle.
        precisions: of ``fp32``, ``fp16`` and ``int8``; fp32 always.
        calibration_crops: how many crops measure the INT8 ranges.
        calibration_folder: where they are taken from, or None for the fold roles.
        ranges: a file of ranges measured before, or None.
        methods: by which ranges are measured; the best is taken.
        accept_loss: whether a file that misses a tolerance is written, and said to.
        external: labelled crops of laboratories not trained on, or None.
        evidence: ``{title: metrics.json}`` of other measurements for the model card.
    """

    name: str
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    calibration_crops: int = 1024
    calibration_folder: Path | None = None
    ranges: Path | None = None
    methods: tuple[str, ...] = METHODS
    accept_loss: bool = False
    seed: int = 0
    external: CropSet | None = None
    evidence: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True)
class Rows:
    """Labelled crops by what they are for.

    Attributes:
        folds: what measures INT8 ranges: roles that a network was trained on.
        judges: role ``confidence``, by which layers and methods are chosen.
        test: role ``test``, on which everything is measured.
        refused: whatever must not measure ranges, of any class.
    """

    folds: list[Crop]
    judges: list[Crop]
    test: list[Crop]
    refused: list[Crop]


def fill(
    folder: Path, crops: CropSet, rows: Rows, info: BundleInfo, options: Options,
    module: nn.Module | None, say: Callable[[str], None],
) -> BundleInfo:  # fmt: skip
    """Writes all files but ``bundle.json`` beside ``fp32.onnx``.

    Args:
        module: the torch networks as one, which the files are certified against; None for the
            fp32 file in its place.

    Returns:
        ``info`` with what was measured.

    Raises:
        ParityError: a file misses a tolerance and ``accept_loss`` is not set.
    """
    info = replace(info, calibration=_write_files(folder, crops, rows, info, options, say))
    if rows.folds:
        info = replace(info, optics=training_optics(crops, rows.folds, options.seed))
    reference = simulated_crops(options.seed)
    expected = open_file(folder, info, FILES[FP32]).infer(reference)[0]
    np.savez_compressed(folder / REFERENCE, crops=reference, probabilities=expected)
    info = replace(
        info, models=tuple(_tolerance(folder, info, m, reference, expected) for m in info.models)
    )
    say(f"measuring {len(info.models)} files on {len(rows.test)} test crops")
    measured = {
        m.file: measure(folder, info, m, crops, rows.test, options.external) for m in info.models
    }
    accuracy = {Path(file).stem: m.table for file, m in measured.items()}
    info = replace(info, accuracy=accuracy)
    parity = _certify(folder, crops, rows.test, info, options, module, measured, reference)
    info = replace(info, parity=parity)
    write_confusion(folder / CONFUSION, measured[FP32], rows.test, info)
    (folder / certificate.PAGE).write_text(certificate.page(info), encoding="utf-8")
    text = card.render(info, options.evidence or {}, _never_shown(info))
    (folder / CARD).write_text(card.with_detector(text, info.detector), encoding="utf-8")
    return info


def _write_files(
    folder: Path, crops: CropSet, rows: Rows, info: BundleInfo, options: Options,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Every file but fp32.onnx; returns ``calibration`` of ``bundle.json``."""
    if len(info.models) == 1:
        return {}
    ranges = _ranges(folder, crops, rows, options, say) if "int8" in options.precisions else None
    maker = Maker(folder, info, crops, rows.judges, say)
    maker.write(ranges)
    chosen: dict[str, Any] = {"files": maker.chosen}
    if ranges is not None:
        save_ranges(ranges, folder / RANGES)
        chosen |= {"crops": ranges.crops, "crops_sha256": ranges.crops_sha256}
    return chosen


def _ranges(
    folder: Path, crops: CropSet, rows: Rows, options: Options, say: Callable[[str], None]
) -> Ranges:
    if options.ranges:
        return load_ranges(options.ranges, folder / FP32)
    say(f"measuring ranges by {', '.join(options.methods)}")
    return measure_ranges(
        folder / FP32, _calibration_crops(crops, rows, options, say), options.methods
    )


def _calibration_crops(
    crops: CropSet, rows: Rows, options: Options, say: Callable[[str], None]
) -> Iterable[Image]:
    if options.calibration_folder:
        refused = {byte_hash(crops.data(c)) for c in rows.refused}
        return folder_crops(
            options.calibration_folder, options.calibration_crops, refused, options.seed, say
        )
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(rows.folds), options.calibration_crops, p=draw_weights(rows.folds))
    return (crop_image(crops, rows.folds[i]) for i in chosen)


def _certify(
    folder: Path, crops: CropSet, test: list[Crop], info: BundleInfo, options: Options,
    module: nn.Module | None, measured: dict[str, Measured], reference: Image,
) -> dict[str, Any]:  # fmt: skip
    """``parity`` of ``bundle.json``."""
    expected, against = measured[FP32].probabilities, "its own fp32 file"
    if module is not None:
        members = info.provenance["members"]
        expected, against = _said(module, crops, test), f"the torch ensemble of {members}"
    backends = {m.file: open_file(folder, info, m) for m in info.models}
    rates = certificate.speeds({f: b.infer for f, b in backends.items()}, reference)
    for backend in backends.values():
        backend.close()
    truth = [c.code for c in test]
    entries = [
        certificate.enter(
            folder, m, measured[m.file].probabilities, expected, truth, info,
            measured[m.file].table["test"], rates[m.file],
        )
        for m in info.models
    ]  # fmt: skip
    parity = certificate.certificate(entries, against, len(test))
    return certificate.accept(parity, certificate.sentences(entries), options.accept_loss)


def _said(module: nn.Module, crops: CropSet, rows: list[Crop], batch: int = 64) -> Probabilities:
    """What the torch networks say of the crops, ``[N, C]``."""
    import torch

    parts = []
    with torch.inference_mode():
        for at in range(0, len(rows), batch):
            images = np.stack([crop_image(crops, row) for row in rows[at : at + batch]])
            parts.append(module(torch.from_numpy(images))[0].numpy())
    return np.concatenate(parts)


def _never_shown(info: BundleInfo) -> list[str]:
    shown = {c.code for c in info.classes}
    return [code for code in DEEPHEME_CODES if code not in shown]


def _tolerance(
    folder: Path, info: BundleInfo, model: ModelFile, reference: Image, expected: Probabilities
) -> ModelFile:
    """Twice what the file differs on the reference crops where it was made, or its smallest."""
    backend = open_file(folder, info, model)
    got = backend.infer(reference)[0]
    backend.close()
    return replace(model, tolerance=max(model.tolerance, 2 * float(np.abs(got - expected).mean())))
