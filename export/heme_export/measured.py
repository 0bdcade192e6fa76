"""What the files of a bundle in the making say, in figures."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.bundle import BundleInfo, ModelFile
from heme_export.precisions import open_file
from heme_train.data import Crop, CropSet
from heme_train.evaluate import predict
from heme_train.metrics import confusion_matrix, summarise


@dataclass(frozen=True)
class Measured:
    """What one file of a bundle says of the test crops.

    Attributes:
        table: figures by title, ``test`` and where asked ``external``.
        probabilities: of the test crops, ``[N, C]``.
    """

    table: dict[str, Any]
    probabilities: NDArray[np.float32]


def measure(
    folder: Path, info: BundleInfo, model: ModelFile, crops: CropSet, rows: list[Crop],
    external: CropSet | None,
) -> Measured:  # fmt: skip
    """One file on the test crops, and on those of another laboratory if there are any."""
    codes = [c.code for c in info.classes]
    backend = open_file(folder, info, model)
    probabilities = predict(backend, crops, rows)
    table = {"test": summarise(probabilities, [c.code for c in rows], codes)}
    if external is not None:
        outside = predict(backend, external, external.crops)
        table["external"] = summarise(outside, [c.code for c in external.crops], codes)
    backend.close()
    return Measured(table, probabilities)


def write_confusion(path: Path, measured: Measured, rows: list[Crop], info: BundleInfo) -> None:
    """The confusion matrix of the test crops as CSV, true classes downwards."""
    codes = [c.code for c in info.classes]
    named = [codes[i] for i in measured.probabilities.argmax(1)]
    matrix = confusion_matrix([c.code for c in rows], named, codes)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true", *codes])
        writer.writerows(
            [code, *map(int, counts)] for code, counts in zip(codes, matrix, strict=True)
        )
