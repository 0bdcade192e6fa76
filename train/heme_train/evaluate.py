"""A bundle or a run measured on labelled crops; a bundle through the runtime a user runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heme_calibration.confidence import PROBABILITIES_OF
from heme_calibration.crops import hold_outs_of
from heme_edge.backends import open_backend
from heme_edge.backends.base import Backend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_PX, CROP_UM_PER_PX, Image, centre_crop
from heme_edge.notices import loss_lines
from heme_train.answers import Answers
from heme_train.data import FOLDS, Crop, CropSet
from heme_train.measure import measure
from heme_train.worsen import AS_IT_IS, Worsening

if TYPE_CHECKING:
    from heme_train.runs import Run

BATCH = 256
FIGURES_BACKEND = "onnxruntime"
"""Figures are of one backend everywhere; ``auto`` would take what is fastest on a machine."""
UNTEMPERED = (
    "No temperature has been fitted on this run (heme-calibrate confidence does that), so its "
    "ECE, NLL and reliability are those of the bare networks."
)
TRAINED_ON = "Crops of role {roles} were trained on by this model: its figures are no test."


def evaluate_bundle(
    bundle: Bundle, precision: str, crops: CropSet, rows: Sequence[Crop]
) -> dict[str, Any]:
    """Open-argmax figures of a bundle on ``rows``; and restricted to the true classes.

    Returns:
        ``metrics.summarise``'s table and what ``measure.measure`` adds to it, with
        ``restricted`` holding accuracy and macro means when the model may only answer with a
        class that occurs among the true ones.
    """
    return measure(answers_of_bundle(bundle, precision, crops, rows)).metrics


def answers_of_bundle(
    bundle: Bundle,
    precision: str,
    crops: CropSet,
    rows: Sequence[Crop],
    worsening: Worsening = AS_IT_IS,
) -> Answers:
    """What a bundle says of the crops, through the runtime's ONNX Runtime backend."""
    backend = open_backend(bundle, FIGURES_BACKEND, precision)
    try:
        probabilities = predict(backend, crops, rows, worsening)
    finally:
        backend.close()
    return Answers(
        codes=bundle.codes,
        probabilities=np.asarray(probabilities, np.float64).reshape(len(rows), len(bundle.codes)),
        title=f"Bundle {bundle.info.name}, {precision}",
        about={
            "precision": precision,
            "bundle": bundle.info.name,
            "digest": bundle.digest,
            "names": {c.code: c.name for c in bundle.info.classes},
        },
        notes=worsening.notes(),
        warnings=(
            *trained_on_warnings(hold_outs_of(bundle), rows),
            *loss_lines(bundle.accepted_losses),
        ),
        **_truth(rows),
    )


def answers_of_run(
    run: Run,
    name: str,
    crops: CropSet,
    rows: Sequence[Crop],
    worsening: Worsening = AS_IT_IS,
) -> Answers:
    """What every network of a run says of the crops, and their mean."""
    temperature = run.confidence[0] if run.confidence else 1.0
    parts = [np.zeros((len(run.networks), 0, len(run.codes)))]
    for at in range(0, len(rows), BATCH):
        images = [worsening(crop_image(crops, row)) for row in rows[at : at + BATCH]]
        parts.append(PROBABILITIES_OF[run.head](run.logits(images) / temperature))
    members = np.concatenate(parts, axis=1)
    return Answers(
        codes=run.codes,
        probabilities=members.mean(axis=0),
        title=f"Run {name}, mean of {len(members)} networks" if len(members) > 1 else f"Run {name}",
        about={"precision": "fp32", "run": name},
        members=members,
        member_names=run.names,
        notes=(*(() if run.confidence else (UNTEMPERED,)), *worsening.notes()),
        warnings=trained_on_warnings(run.hold_outs, rows),
        **_truth(rows),
    )


def trained_on_warnings(hold_outs: Sequence[str], rows: Sequence[Crop]) -> tuple[str, ...]:
    """A warning where a fold is measured that a member did not hold out."""
    folds = sorted({c.role for c in rows} & set(FOLDS))
    trained = [fold for fold in folds if any(held != fold for held in hold_outs)]
    return (TRAINED_ON.format(roles=", ".join(trained)),) if trained else ()


def _truth(rows: Sequence[Crop]) -> dict[str, Any]:
    return {
        "truth": tuple(c.code for c in rows),
        "groups": tuple(c.group for c in rows),
        "grouped": any(c.group != c.file for c in rows),
    }


def predict(
    backend: Backend, crops: CropSet, rows: Sequence[Crop], worsening: Worsening = AS_IT_IS
) -> Probabilities:
    """Probabilities ``[N, C]`` of the centre crops of ``rows``, streamed in batches."""
    parts = [np.zeros((0, 0), np.float32)]
    for at in range(0, len(rows), BATCH):
        images = np.stack([worsening(crop_image(crops, row)) for row in rows[at : at + BATCH]])
        parts.append(backend.infer(images)[0])
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def crop_image(crops: CropSet, row: Crop) -> Image:
    """The middle 96x96 px of a labelled crop, as ``classify --crops`` cuts it."""
    image = crops.image(row)
    height, width = image.shape[:2]
    if (height, width) == (CROP_PX, CROP_PX):
        return image
    return centre_crop(image, CROP_UM_PER_PX)
