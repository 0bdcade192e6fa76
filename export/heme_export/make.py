"""A training run becomes a verified bundle: fitted, exported, quantised, measured, described."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_calibration import confidence
from heme_calibration.int8 import Ranges, quantise_u8
from heme_edge import __version__
from heme_edge.bundle import (
    CARD,
    CONFUSION,
    REFERENCE,
    Bundle,
    BundleClass,
    BundleInfo,
    ModelFile,
    write_bundle,
)
from heme_edge.cells import DEEPHEME_CODES, cell_class
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_export import card
from heme_export.graph import OPSET, export_onnx
from heme_export.measured import measure, open_model, parity, write_confusion
from heme_export.reference import simulated_crops
from heme_train.data import CONFIDENCE, TEST, Crop, CropSet, draw_weights
from heme_train.evaluate import crop_image, predict
from heme_train.runs import Run, crops_of, load_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

FP32_TOLERANCE = 1e-3
INT8_FLOOR = 0.02
INT8_AGREEMENT = 0.99
"""Share of the ``confidence`` crops on which INT8 must name what fp32 names."""
MOST_FLOAT_LAYERS = 4
NAMES = {"E4": "eosinophil"}
"""The bundle's own name where the images of a class are broader than the code's name."""


@dataclass(frozen=True)
class Options:
    """What ``heme-export bundle`` was asked for.

    Attributes:
        name: of the bundle.
        precisions: ``fp32`` and optionally ``int8``.
        calibration_crops: how many fold crops measure the INT8 ranges.
        external: labelled crops of laboratories not trained on, or None.
        evidence: ``{title: metrics.json}`` of other measurements for the model card.
    """

    name: str
    precisions: tuple[str, ...] = ("fp32", "int8")
    calibration_crops: int = 512
    seed: int = 0
    external: CropSet | None = None
    evidence: dict[str, dict[str, Any]] | None = None


def make_bundle(
    run_path: Path, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """Writes the bundle of a run's folder; see ``bundle_of_run``.

    Raises:
        HemeError: as ``bundle_of_run``, or the run is unfinished.
    """
    return bundle_of_run(load_run(run_path), crops_of(run_path, crops), folder, options, say)


def bundle_of_run(
    run: Run, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """Writes the bundle of an opened run, or of a checkpoint opened as one.

    Temperature and reject threshold come from role ``confidence`` (from the run's
    ``confidence.json`` where ``heme-calibrate confidence`` wrote one), INT8 ranges from the fold
    roles, the published figures from ``test``.

    Raises:
        HemeError: the crops are of another split than its own, or a precision is unknown or
            fp32 is missing.
    """
    models = _models(options)
    rows = _rows(run.codes, run.content, crops, options)
    temperature, threshold = _confidence(run, crops, rows[CONFIDENCE])
    say(f"temperature {temperature:.3f}, reject threshold {threshold:.3f}")
    info = BundleInfo(
        name=options.name,
        classes=_classes(run),
        models=models,
        head=run.head,
        temperature=temperature,
        reject_threshold=threshold,
        provenance=_provenance(run),
        training_data=card.training_data(run.content["training_images"]),
    )
    with _work_folder(folder) as work:
        export_onnx(run, info.temperature, work / "fp32.onnx")
        info = _fill(work, crops, rows, info, options, say)
        return write_bundle(folder, info, lambda part: _copy(work, part))


def requantise(
    source: Bundle, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """A bundle from another one's fp32 file: INT8 made and everything measured anew.

    For who has a bundle but not its training run. Temperature and reject threshold stay.

    Raises:
        HemeError: the crops are of another split than the one the network was trained on, or a
            precision is unknown or fp32 is missing.
    """
    models = _models(options)
    rows = _rows(source.codes, source.info.provenance, crops, options)
    with _work_folder(folder) as work:
        fp32 = source.model("fp32", ("float",)).file
        shutil.copyfile(source.path / fp32, work / "fp32.onnx")
        info = _fill(
            work, crops, rows, replace(source.info, name=options.name, models=models), options, say
        )
        return write_bundle(folder, info, lambda part: _copy(work, part))


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside the bundle, gone afterwards whatever happens."""
    work = folder.with_name(f".{folder.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, target / path.name)


def _rows(
    codes: tuple[str, ...], trained: dict[str, Any], crops: CropSet, options: Options
) -> dict[str, list[Crop]]:
    """Rows by use; ``trained`` is a ``run.json``, or the provenance a bundle keeps of one."""
    sources = trained["recipe"]["sources"]
    if crops.digest() != trained["crops_sha256"]:
        raise HemeError(
            "The crops are not those the run was split on.",
            "Give the --data of heme-train fit (for a bundle also --split RUN/split.csv)",
        )
    folds = [f"fold{i}" for i in range(5)]
    for role in (CONFIDENCE, TEST):
        if not crops.select([role], sources, codes):
            raise HemeError(f"There are no crops of role {role}.", "Give the split those roles")
    if "int8" in options.precisions and not crops.select(folds, sources, codes):
        raise HemeError("There are no crops of a fold to measure INT8 on.", "--precision fp32")
    return {
        "folds": crops.select(folds, sources, codes),
        CONFIDENCE: crops.select([CONFIDENCE], sources, codes),
        TEST: crops.select([TEST], sources, codes),
    }


def _classes(run: Run) -> tuple[BundleClass, ...]:
    shares = run.content["training_images"]
    names = NAMES if any(shares.values()) else {}
    return tuple(
        BundleClass(code, names.get(code, cell_class(code).name), shares[code])
        for code in run.codes
    )


def _models(options: Options) -> tuple[ModelFile, ...]:
    if "fp32" not in options.precisions:
        raise HemeError("A bundle needs fp32, which every check is against.", "--precision fp32,…")
    return tuple(_model(p, FP32_TOLERANCE) for p in options.precisions)


def _model(precision: str, tolerance: float) -> ModelFile:
    scheme = {"fp32": "float", "int8": "u8-asymmetric"}.get(precision)
    if scheme is None:
        raise HemeError(f"Precision '{precision}' cannot be exported yet.", "--precision fp32,int8")
    return ModelFile(f"{precision}.onnx", precision, scheme, OPSET, tolerance)


def _provenance(run: Run) -> dict[str, Any]:
    import torch

    return {
        "heme_edge": __version__,
        "torch": torch.__version__,
        "made": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "recipe": run.content["recipe"],
        "first_weights": run.content["first_weights"],
        "mean": run.content["mean"],
        "std": run.content["std"],
        "crops_sha256": run.content["crops_sha256"],
        "extra_sha256": run.content["extra_sha256"],
        "members": len(run.networks),
    }


def _confidence(run: Run, crops: CropSet, rows: list[Crop]) -> tuple[float, float]:
    """Temperature and reject threshold: as written beside the run, or fitted here alike."""
    if run.confidence is not None:
        return run.confidence
    truth = np.array([run.codes.index(c.code) for c in rows])
    logits = run.logits([crop_image(crops, row) for row in rows])
    found = confidence.fit_confidence(logits, truth, head=run.head)
    return found["temperature"], found["reject_threshold"]


def _fill(
    folder: Path, crops: CropSet, rows: dict[str, list[Crop]], info: BundleInfo,
    options: Options, say: Callable[[str], None],
) -> BundleInfo:  # fmt: skip
    """All files but bundle.json from fp32.onnx; returns ``info`` with tables and tolerances."""
    if "int8" in options.precisions:
        ranges, agreement = _quantise(folder, info, crops, rows, options)
        say(f"int8 with {ranges.float_layers} float layers agrees on {agreement:.3f}")
        info = replace(info, calibration=asdict(ranges) | {"confidence_agreement": agreement})
    reference = simulated_crops(options.seed)
    expected = open_model(folder, info, "fp32").infer(reference)[0]
    np.savez_compressed(folder / REFERENCE, crops=reference, probabilities=expected)
    info = replace(
        info, models=tuple(_tolerance(folder, info, m, reference, expected) for m in info.models)
    )
    tables = {}
    for precision in options.precisions:
        say(f"measuring {precision} on {len(rows[TEST])} test crops")
        tables[precision] = measure(folder, info, precision, crops, rows[TEST], options.external)
    info = replace(info, accuracy={p: t.table for p, t in tables.items()}, parity=parity(tables))
    write_confusion(folder / CONFUSION, tables["fp32"], rows[TEST], info)
    (folder / CARD).write_text(card.render(info, options.evidence or {}, _never_shown(info)))
    return info


def _never_shown(info: BundleInfo) -> list[str]:
    shown = {c.code for c in info.classes}
    return [code for code in DEEPHEME_CODES if code not in shown]


def _quantise(
    folder: Path, info: BundleInfo, crops: CropSet, rows: dict[str, list[Crop]], options: Options
) -> tuple[Ranges, float]:
    """The INT8 file with the fewest float layers that says what fp32 says on ``confidence``."""
    folds, judges = rows["folds"], rows[CONFIDENCE]
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(folds), options.calibration_crops, p=draw_weights(folds))
    images = [crop_image(crops, folds[i]) for i in chosen]
    expected = predict(open_model(folder, info, "fp32"), crops, judges).argmax(1)
    for layers in range(MOST_FLOAT_LAYERS + 1):
        ranges = quantise_u8(folder / "fp32.onnx", folder / "int8.onnx", images, layers)
        got = predict(open_model(folder, info, "int8"), crops, judges).argmax(1)
        agreement = float((got == expected).mean())
        if agreement >= INT8_AGREEMENT:
            break
    return ranges, agreement


def _tolerance(
    folder: Path,
    info: BundleInfo,
    model: ModelFile,
    reference: Image,
    expected: NDArray[np.float32],
) -> ModelFile:
    """fp32 must hold to 1e-3; INT8 to twice what it differs where it was made, or 0.02."""
    if model.precision == "fp32":
        return model
    got = open_model(folder, info, model.precision).infer(reference)[0]
    return replace(model, tolerance=max(INT8_FLOOR, 2 * float(np.abs(got - expected).mean())))
