"""A bundle measured on labelled crops, through the runtime a user runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heme_edge.backends import open_backend
from heme_edge.backends.base import Backend, Probabilities
from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_PX, CROP_UM_PER_PX, Image, centre_crop
from heme_train.data import Crop, CropSet
from heme_train.metrics import restricted, summarise


def evaluate_bundle(
    bundle: Bundle, precision: str, crops: CropSet, rows: Sequence[Crop]
) -> dict[str, Any]:
    """Open-argmax figures of a bundle on ``rows``; and restricted to the true classes.

    Returns:
        ``metrics.summarise``'s table, with ``restricted`` holding accuracy and macro means
        when the model may only answer with a class that occurs among the true ones.
    """
    backend = open_backend(bundle, precision=precision)
    try:
        probabilities = predict(backend, crops, rows)
    finally:
        backend.close()
    truth = [c.code for c in rows]
    result = summarise(probabilities, truth, bundle.codes)
    closed = restricted(probabilities, bundle.codes, sorted(set(truth)))
    only = summarise(closed, truth, bundle.codes)
    return result | {
        "precision": precision,
        "restricted": {"accuracy": only["accuracy"], "macro": only["macro"]},
    }


def predict(backend: Backend, crops: CropSet, rows: Sequence[Crop]) -> Probabilities:
    """Probabilities ``[N, C]`` of the centre crops of ``rows``, streamed in batches."""
    parts = [np.zeros((0, 0), np.float32)]
    for at in range(0, len(rows), 256):
        images = np.stack([crop_image(crops, row) for row in rows[at : at + 256]])
        parts.append(backend.infer(images)[0])
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def crop_image(crops: CropSet, row: Crop) -> Image:
    """The middle 96x96 px of a labelled crop, as ``classify --crops`` cuts it."""
    image = crops.image(row)
    height, width = image.shape[:2]
    if (height, width) == (CROP_PX, CROP_PX):
        return image
    return centre_crop(image, CROP_UM_PER_PX)
