"""A finished training run, opened: one network, or an ensemble of several.

A *member folder* holds ``run.json`` and ``weights.pt`` (and ``weights-1.pt``, ``weights-2.pt``, …
of earlier cycles of a snapshot recipe). A *run* is a member folder, or a folder with a member
folder per fold (``fold0`` … ``fold4``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heme_calibration.confidence import read_confidence
from heme_edge.crops import Image
from heme_edge.errors import HemeError
from heme_train.data import CropSet
from heme_train.models import RUN_FILE, WEIGHTS_FILE, create_network, preprocessing
from heme_train.norms import set_norm
from heme_train.split import read_split, split_of_run

if TYPE_CHECKING:
    from torch import nn

CONFIDENCE_FILE, ENSEMBLE_FILE = "confidence.json", "ensemble.json"


@dataclass(frozen=True)
class Run:
    """A finished training run: its networks and what it says of itself.

    Attributes:
        codes: class codes in output order.
        networks: ensemble members, in evaluation mode.
        names: of the members, such as ``fold0`` or ``fold0/weights-1``.
        hold_outs: the fold each member was not trained on, or ``none``.
        prepare: uint8 ``[N, 96, 96, 3]`` to what the networks take.
        head: ``softmax`` or ``sigmoid``.
        content: ``run.json`` of the first member.
        confidence: temperature and reject threshold that ``heme-calibrate confidence`` wrote
            into the run's folder, or None.
    """

    codes: tuple[str, ...]
    networks: tuple[nn.Module, ...]
    names: tuple[str, ...]
    hold_outs: tuple[str, ...]
    prepare: nn.Module
    head: str
    content: dict[str, Any]
    confidence: tuple[float, float] | None = None

    def only(self, members: Sequence[int]) -> Run:
        """The run with some of its members."""
        return replace(
            self,
            networks=tuple(self.networks[i] for i in members),
            names=tuple(self.names[i] for i in members),
            hold_outs=tuple(self.hold_outs[i] for i in members),
        )

    def logits(self, images: Sequence[Image], batch: int = 128) -> NDArray[np.float32]:
        """Logits ``[M, N, C]`` of every member for crops ``[96, 96, 3]`` uint8 RGB."""
        import torch

        parts = []
        with torch.inference_mode():
            for at in range(0, len(images), batch):
                pixels = self.prepare(torch.from_numpy(np.stack(images[at : at + batch])))
                parts.append(torch.stack([m(pixels) for m in self.networks]).numpy())
        empty = np.zeros((len(self.networks), 0, len(self.codes)), np.float32)
        return np.concatenate(parts, axis=1) if parts else empty


def member_folders(path: Path) -> list[Path]:
    """The member folders of a run.

    Raises:
        HemeError: ``path`` is no run.
    """
    if (path / RUN_FILE).is_file():
        return [path]
    if not (path / ENSEMBLE_FILE).is_file():
        raise HemeError(f"'{path}' is not a training run.", "heme-train fit --run DIR")
    folders = [path / fold for fold in _read_json(path / ENSEMBLE_FILE)["folds"]]
    for folder in folders:
        if not (folder / RUN_FILE).is_file():
            raise HemeError(f"The run '{path}' has not ended.", "Run the same heme-train fit again")
    return folders


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HemeError(f"'{path}' cannot be read: {error}") from error
    return content


def crops_of(path: Path, crops: CropSet) -> CropSet:
    """The crops with the roles a run gave them, where it wrote a ``split.csv``.

    Raises:
        HemeError: that split is of other crops.
    """
    split = split_of_run(path)
    return read_split(split, crops) if split else crops


def load_run(path: Path) -> Run:
    """Opens a run of ``heme-train fit``.

    Raises:
        HemeError: it is not one, its training has not ended, or its members differ in classes.
    """
    networks: list[nn.Module] = []
    names: list[str] = []
    hold_outs: list[str] = []
    contents: list[dict[str, Any]] = []
    for folder in member_folders(path):
        if not (folder / WEIGHTS_FILE).is_file():
            raise HemeError(
                f"The run '{folder}' has not ended.", "Run the same heme-train fit again"
            )
        content = _read_json(folder / RUN_FILE)
        contents.append(content)
        for file in (*sorted(folder.glob("weights-*.pt")), folder / WEIGHTS_FILE):
            networks.append(_network(content, file))
            names.append(folder.name if file.name == WEIGHTS_FILE else f"{folder.name}/{file.stem}")
            hold_outs.append(content["recipe"]["hold_out"])
    first = contents[0]
    if any(c["codes"] != first["codes"] or c["mean"] != first["mean"] for c in contents):
        raise HemeError(f"The members of '{path}' were not trained alike.")
    recipe = first["recipe"]
    return Run(
        tuple(first["codes"]),
        tuple(networks),
        tuple(names),
        tuple(hold_outs),
        preprocessing(first["mean"], first["std"], recipe["standardise"]),
        recipe["head"],
        first,
        read_confidence(path / CONFIDENCE_FILE) if (path / CONFIDENCE_FILE).is_file() else None,
    )


def _network(content: dict[str, Any], file: Path) -> nn.Module:
    import torch

    recipe = content["recipe"]
    network = set_norm(
        create_network(recipe["network"], len(content["codes"]), "none"), recipe["norm"]
    )
    saved = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(saved["state_dict"])
    return network.eval()
