"""The table ``optics`` of a bundle: background and stain of the crops it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from heme_calibration.crops import hold_outs_of, is_refused
from heme_edge.bundle import MANIFEST, Bundle, load_bundle
from heme_edge.errors import BundleError
from heme_edge.optics.drift import optics_table
from heme_edge.writing import write_whole
from heme_train.data import Crop, CropSet
from heme_train.evaluate import crop_image

MOST_CROPS = 6000


def training_optics(crops: CropSet, folds: list[Crop], seed: int = 0) -> dict[str, Any]:
    """The table from at most 6,000 crops of fold roles, drawn by chance."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(folds))[:MOST_CROPS]
    return optics_table((folds[i].source, crop_image(crops, folds[i])) for i in sorted(drawn))


def add_optics(folder: Path, crops: CropSet) -> Bundle:
    """Puts the table into a bundle that is there, and changes nothing else of it.

    Args:
        folder: of the bundle.
        crops: those the bundle was trained on, with their roles.

    Raises:
        BundleError: it is no bundle, or cannot be written.
    """
    bundle = load_bundle(folder)
    sources = bundle.info.provenance["recipe"]["sources"]
    hold_outs = hold_outs_of(bundle)
    roles = {c.role for c in crops.crops if not is_refused(c.role, hold_outs)}
    table = training_optics(crops, crops.select(roles, sources, bundle.codes))
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8")) | {"optics": table}
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_whole(path, text.encode())
    except OSError as error:
        raise BundleError(f"'{path}' cannot be written ({error.strerror}).") from error
    return load_bundle(folder)
