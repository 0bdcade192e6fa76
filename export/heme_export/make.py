"""A training run becomes a verified bundle: fitted, exported, proved, described."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration import confidence
from heme_calibration.crops import hold_outs_of, is_refused
from heme_edge import __version__
from heme_edge.bundle import Bundle, BundleClass, BundleInfo, load_bundle
from heme_edge.bundle_writing import write_bundle
from heme_edge.cells import cell_class
from heme_edge.errors import HemeError
from heme_export import card
from heme_export.detector import carry_detector
from heme_export.fill import Options, Rows, fill
from heme_export.graph import ensemble_module, export_onnx
from heme_export.precisions import FP32, files_of
from heme_train.bundled import load_bundled
from heme_train.data import CONFIDENCE, TEST, Crop, CropSet
from heme_train.evaluate import crop_image
from heme_train.models import create_network, preprocessing
from heme_train.runs import Run, crops_of, load_run

NAMES = {"E4": "eosinophil"}
"""The bundle's own name where the images of a class are broader than the code's name."""


def make_bundle(
    run_path: Path, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """Writes the bundle of a run's folder; see ``bundle_of_run``.

    Raises:
        HemeError: as ``bundle_of_run``, or the run is unfinished.
        ParityError: as ``bundle_of_run``.
    """
    return bundle_of_run(load_run(run_path), crops_of(run_path, crops), folder, options, say)


def bundle_of_run(
    run: Run, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """Writes the bundle of an opened run, or of a checkpoint opened as one.

    The detector is the default bundle's. Temperature and reject threshold come from role
    ``confidence`` (from the run's ``confidence.json`` where ``heme-calibrate confidence`` wrote
    one), INT8 ranges from the fold roles, the published figures from ``test``.

    Raises:
        HemeError: the crops are of another split than its own, or a precision is unknown or
            fp32 is missing.
        ParityError: a file does not say what the networks say; nothing is written.
    """
    models = files_of(options.precisions)
    rows = _rows(run.codes, run.content, run.hold_outs, crops, options)
    temperature, threshold = _confidence(run, crops, rows.judges)
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
        info = replace(info, detector=carry_detector(load_bundle(), work))
        export_onnx(run, info.temperature, work / FP32)
        module = ensemble_module(run, info.temperature)
        info = fill(work, crops, rows, info, options, module, say)
        return write_bundle(folder, info, lambda part: _copy(work, part))


def requantise(
    source: Bundle, crops: CropSet, folder: Path, options: Options,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:  # fmt: skip
    """A bundle from another one's fp32 file: INT8 made and everything measured anew.

    For who has a bundle but not its training run. Temperature and reject threshold stay. What
    the files are certified against is the torch network, its weights taken from the fp32 file;
    for a bundle of several networks, the fp32 file itself.

    Raises:
        HemeError: the crops are of another split than the one the network was trained on, or a
            precision is unknown or fp32 is missing.
        ParityError: a file does not say what the network says; nothing is written.
    """
    info = replace(source.info, name=options.name, models=files_of(options.precisions))
    rows = _rows(source.codes, info.provenance, hold_outs_of(source), crops, options)
    run = _run_of(source)
    module = ensemble_module(run, info.temperature) if run else None
    with _work_folder(folder) as work:
        carry_detector(source, work)
        fp32 = source.model("fp32", ("float",)).file
        shutil.copyfile(source.path / fp32, work / FP32)
        info = fill(work, crops, rows, info, options, module, say)
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
    codes: tuple[str, ...], trained: dict[str, Any], hold_outs: Sequence[str], crops: CropSet,
    options: Options,
) -> Rows:  # fmt: skip
    """Rows by use; ``trained`` is a ``run.json``, or the provenance a bundle keeps of one."""
    sources = trained["recipe"]["sources"]
    if crops.digest() != trained["crops_sha256"]:
        raise HemeError(
            "The crops are not those the run was split on.",
            "Give the --data of heme-train fit (for a bundle also --split RUN/split.csv)",
        )
    for role in (CONFIDENCE, TEST):
        if not crops.select([role], sources, codes):
            raise HemeError(f"There are no crops of role {role}.", "Give the split those roles")
    roles = {c.role for c in crops.crops}
    folds = crops.select({r for r in roles if not is_refused(r, hold_outs)}, sources, codes)
    if "int8" in options.precisions and not (folds or options.calibration_folder or options.ranges):
        raise HemeError(
            "There are no crops of a fold to measure INT8 on.",
            "--calibration-crops DIR, or --precision fp32",
        )
    return Rows(
        folds,
        crops.select([CONFIDENCE], sources, codes),
        crops.select([TEST], sources, codes),
        [c for c in crops.crops if is_refused(c.role, hold_outs)],
    )


def _classes(run: Run) -> tuple[BundleClass, ...]:
    shares = run.content["training_images"]
    names = NAMES if any(shares.values()) else {}
    return tuple(
        BundleClass(code, names.get(code, cell_class(code).name), shares[code])
        for code in run.codes
    )


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
        "hold_outs": list(run.hold_outs),
    }


def _confidence(run: Run, crops: CropSet, rows: list[Crop]) -> tuple[float, float]:
    """Temperature and reject threshold: as written beside the run, or fitted here alike."""
    if run.confidence is not None:
        return run.confidence
    truth = np.array([run.codes.index(c.code) for c in rows])
    logits = run.logits([crop_image(crops, row) for row in rows])
    found = confidence.fit_confidence(logits, truth, head=run.head)
    return found["temperature"], found["reject_threshold"]


def _run_of(source: Bundle) -> Run | None:
    """The torch network of a bundle; None where it has several or another kind of network."""
    about = source.info.provenance
    recipe = about["recipe"]
    try:
        network = create_network(recipe["network"], len(source.codes), "none")
        load_bundled(network, source.path)
    except HemeError:
        return None
    prepare = preprocessing(about["mean"], about["std"], recipe.get("standardise", False))
    one = ("bundle",)
    return Run(source.codes, (network.eval(),), one, one, prepare, source.info.head, about)
