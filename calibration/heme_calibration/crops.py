"""Calibration crops from a folder: of every class alike, streamed, none that must stay unseen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from heme_edge.bundle import Bundle
from heme_edge.crops import CROP_UM_PER_PX, Image, centre_crop
from heme_edge.errors import HemeError, PhotoError
from heme_edge.photos import byte_hash, decode_photo, find_photos

FOLDS = "fold"
"""What the roles begin with whose crops may be trained on, and so calibrated on."""


def hold_outs_of(bundle: Bundle) -> tuple[str, ...]:
    """Which fold each network of a bundle held out, or ``none``."""
    provenance = bundle.info.provenance
    if "hold_outs" in provenance:
        return tuple(map(str, provenance["hold_outs"]))
    one = provenance.get("members", 1) == 1
    return (str(provenance.get("recipe", {}).get("hold_out", "none")) if one else "none",)


def is_refused(role: str, hold_outs: Sequence[str]) -> bool:
    """Whether crops of a role must not measure ranges: no fold, or one that no network saw."""
    return not role.startswith(FOLDS) or all(held == role for held in hold_outs)


def refused_hashes(split: Path, hold_outs: Sequence[str]) -> set[str]:
    """Hashes of the crops that a ``split.csv`` keeps from calibration.

    Raises:
        HemeError: it is not a ``split.csv`` of ``heme-train fit``.
    """
    try:
        with split.open(newline="", encoding="utf-8") as file:
            rows = [(row["role"], row["sha256"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise HemeError(f"'{split}' is no split.csv ({error}).", "RUN/split.csv") from error
    return {digest for role, digest in rows if is_refused(role, hold_outs)}


def folder_crops(
    folder: Path,
    count: int,
    refused: Collection[str] = (),
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Image]:
    """Up to ``count`` crops ``[96, 96, 3]`` of the photos of single cells below a folder.

    Its sub-folders are taken as classes and drawn from in turn; one that has no more is passed
    over. Photos that cannot be read are told and left out.

    Args:
        folder: of photos at 0.25 µm/px, best in a sub-folder for each class.
        count: how many at most.
        refused: ``byte_hash`` of what must not be among them.
        seed: of the draw.
        say: told what was left out.

    Raises:
        HemeError: there is no photo, or one is of a refused role.
    """
    paths = find_photos(folder)
    if not paths:
        raise HemeError(f"There are no photos in '{folder}'.", "Give a folder of crops")
    for path in _in_turn(folder, paths, seed):
        if count <= 0:
            return
        try:
            data = path.read_bytes()
            image = centre_crop(decode_photo(data), CROP_UM_PER_PX)
        except (OSError, PhotoError) as error:
            say(f"left out: {path.name}: {error}")
            continue
        if byte_hash(data) in refused:
            raise HemeError(
                f"'{path}' is a crop that this network is tested, fitted or validated on.",
                "Calibrate on other crops",
            )
        count -= 1
        yield image


def _in_turn(folder: Path, paths: list[Path], seed: int) -> Iterator[Path]:
    rng = np.random.default_rng(seed)
    by_class: dict[Path, list[Path]] = {}
    for i in rng.permutation(len(paths)):
        by_class.setdefault(paths[i].relative_to(folder).parent, []).append(paths[i])
    turns = zip_longest(*(by_class[name] for name in sorted(by_class)))
    return (path for turn in turns for path in turn if path is not None)
