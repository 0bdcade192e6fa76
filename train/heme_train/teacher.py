"""What an ensemble says of crops that its members have not seen, for a student to learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heme_calibration.confidence import ensemble_probabilities
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_train.augment import centre
from heme_train.data import Crop, CropSet
from heme_train.runs import Run, load_run
from heme_train.state import read_saved, save_atomically

TAUGHT_FILE = "taught.pt"
BLOCK = 256


def taught(
    kept: Path, path: Path, crops: CropSet, rows: Sequence[Crop], codes: Sequence[str], split: str
) -> NDArray[np.float32]:
    """``teach``, whose answers are kept in the file ``kept``: a resumed training reads them there.

    A file of another teacher or of other rows is written anew.

    Args:
        kept: where, such as ``taught.pt`` in the student's run folder.
        path, crops, rows, codes, split: see ``teach``.

    Returns:
        probabilities ``[N, C]``.

    Raises:
        HemeError: see ``teach``; or the file cannot be read.
    """
    import torch

    key = _digest(path, [split, *codes, *(c.file for c in rows)])
    found = read_saved(kept) if kept.is_file() else {}
    if found.get("of") == key:
        return np.asarray(found["probabilities"].numpy())
    told = teach(path, crops, rows, codes, split)
    save_atomically(kept, {"of": key, "probabilities": torch.from_numpy(told)})
    return told


def _digest(path: Path, asked: Sequence[str]) -> str:
    """Of a teacher's weights and of what it is asked."""
    whole = hashlib.sha256("\n".join(asked).encode())
    for file in sorted(path.rglob("weights*.pt")):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def teach(
    path: Path, crops: CropSet, rows: Sequence[Crop], codes: Sequence[str], split: str
) -> NDArray[np.float32]:
    """Out-of-fold probabilities ``[N, C]`` of a run for ``rows``.

    Each row is named by the members that held out its fold, turned in the four quarters and
    averaged.

    Args:
        path: run folder of ``heme-train fit --folds all``.
        crops: the pictures.
        rows: of fold roles.
        codes: the student's classes.
        split: digest of the student's split.

    Raises:
        HemeError: the run has other classes, is of another split, or has no member that held a
            row's fold out.
    """
    run = load_run(path)
    if list(run.codes) != list(codes):
        raise HemeError(f"The teacher '{path}' knows other classes than there are to learn.")
    if run.content["crops_sha256"] != split:
        raise HemeError(f"The teacher '{path}' was trained on another split.")
    result = np.zeros((len(rows), len(codes)), np.float32)
    for fold in sorted({c.role for c in rows}):
        blind = run.only([i for i, held in enumerate(run.hold_outs) if held == fold])
        if not blind.networks:
            raise HemeError(
                f"No member of the teacher '{path}' held out {fold}.", "heme-train fit --folds all"
            )
        places = [i for i, c in enumerate(rows) if c.role == fold]
        for at in range(0, len(places), BLOCK):
            part = places[at : at + BLOCK]
            result[part] = _turned_mean(blind, [centre(crops.image(rows[i])) for i in part])
    return result


def _turned_mean(run: Run, images: list[Image]) -> NDArray[np.float32]:
    turned = [
        ensemble_probabilities(
            run.logits([np.ascontiguousarray(np.rot90(i, k)) for i in images]), 1.0, run.head
        )
        for k in range(4)
    ]
    return np.asarray(np.mean(turned, axis=0), np.float32)
