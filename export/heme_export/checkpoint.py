"""A checkpoint that ``heme-train`` did not make, opened as a run: what it leaves open is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.bundle import HEADS, sha256_of
from heme_edge.cells import cell_class
from heme_edge.crops import CROP_PX
from heme_edge.errors import HemeError
from heme_train.data import CropSet
from heme_train.models import RUN_FILE, input_statistics, load_whole, preprocessing
from heme_train.runs import Run

if TYPE_CHECKING:
    from torch import nn

CLASSES_HINT = "--classes M1,M2,… in the order of the outputs, or a text file with a code a line"


def run_of_checkpoint(
    path: Path, network: str, codes: Sequence[str], head: str,
    mean: Sequence[float], std: Sequence[float], crops: CropSet,
) -> Run:  # fmt: skip
    """Opens a file of weights as a run of one member; nothing in the file is run.

    Args:
        path: a ``state_dict`` as ``torch.save`` or safetensors wrote it, plain or in a training
            program's checkpoint under ``state_dict``, ``model_state_dict`` or ``model``.
        network: timm name, or ``deepheme``; see ``heme_train.models.create_network``.
        codes: class codes or aliases in the order of the outputs.
        head: ``softmax`` or ``sigmoid``.
        mean, std: of RGB in 0..1, three numbers each; empty for those timm has for the network.
        crops: labelled crops with roles, which the bundle is fitted and measured on.

    Raises:
        HemeError: the file is a run's own, is no checkpoint, or is of another network or number
            of classes; something told is unknown; or the crops have no roles.
    """
    _check(path, head, crops)
    known = _codes(codes)
    member = load_whole(path, len(known), network)
    statistics = _statistics(path, network, mean, std)
    prepare = preprocessing(*statistics, False)
    _try(network, member, prepare)
    content = {
        "recipe": _recipe(path, network, head),
        "codes": list(known),
        "mean": statistics[0],
        "std": statistics[1],
        "first_weights": "checkpoint",
        "training_images": {code: {} for code in known},
        "crops_sha256": crops.digest(),
        "extra_sha256": "",
    }
    return Run(known, (member,), ("checkpoint",), ("none",), prepare, head, content)


def read_codes(given: str) -> tuple[str, ...]:
    """The words of ``M1,M2,…``, or of a text file with one a line; not yet checked.

    Raises:
        HemeError: it is neither.
    """
    try:
        text = given if "," in given else Path(given).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HemeError(f"'{given}' is no list of classes.", CLASSES_HINT) from error
    return tuple(text.replace(",", " ").split())


def _check(path: Path, head: str, crops: CropSet) -> None:
    if (path.parent / RUN_FILE).is_file():
        raise HemeError(
            f"'{path}' is part of a training run, which says itself what it is.",
            f"heme-export bundle {path.parent}",
        )
    if head not in HEADS:
        raise HemeError(f"There is no head '{head}'.", f"One of {', '.join(HEADS)}")
    if not crops.roles_known:
        raise HemeError(
            "The crops have no roles, and a checkpoint brings none.",
            "--split split.csv of a training run on these crops, or a column role in the manifest",
        )


def _codes(given: Sequence[str]) -> tuple[str, ...]:
    codes: list[str] = []
    for code in (cell_class(text).code for text in given):
        if code in codes:
            raise HemeError(f"The class {code} stands twice in the list.", CLASSES_HINT)
        codes.append(code)
    if len(codes) < 2:
        raise HemeError("A classifier has two classes or more.", CLASSES_HINT)
    return tuple(codes)


def _statistics(
    path: Path, network: str, mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not mean and not std:
        return input_statistics(network, str(path))
    numbers = (*mean, *std)
    if len(mean) != 3 or len(std) != 3 or not all(0 <= n <= 1 for n in numbers) or min(std) == 0:
        raise HemeError(
            "Mean and standard deviation are three numbers each, of RGB in 0 to 1.",
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        )
    return tuple(mean), tuple(std)


def _try(name: str, network: nn.Module, prepare: nn.Module) -> None:
    """One crop through the network: some of timm's take pictures of one size only."""
    import torch

    crop = torch.zeros((1, CROP_PX, CROP_PX, 3), dtype=torch.uint8)
    try:
        with torch.inference_mode():
            network(prepare(crop))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise HemeError(
            f"The network '{name}' does not take crops of {CROP_PX}x{CROP_PX} px ({error})."
        ) from error


def _recipe(path: Path, network: str, head: str) -> dict[str, Any]:
    """Of the fields of a recipe those that somebody knows, and which file this was."""
    return {
        "network": network,
        "weights": path.name,
        "weights_sha256": sha256_of(path),
        "head": head,
        "sources": [],
        "standardise": False,
    }
