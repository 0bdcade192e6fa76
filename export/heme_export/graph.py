"""Checkpoint to ONNX: preprocessing, members, temperature and head in one graph."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.crops import CROP_PX
from heme_edge.errors import HemeError
from heme_train.models import RUN_FILE, WEIGHTS_FILE, create_network, preprocessing

if TYPE_CHECKING:
    from torch import nn

OPSET = 17


@dataclass(frozen=True)
class Run:
    """A finished training run: its networks and what it says of itself.

    Attributes:
        codes: class codes in output order.
        networks: ensemble members, in evaluation mode.
        prepare: uint8 ``[N, 96, 96, 3]`` to what the networks take.
        content: ``run.json``.
    """

    codes: tuple[str, ...]
    networks: tuple[nn.Module, ...]
    prepare: nn.Module
    content: dict[str, Any]


def load_run(path: Path) -> Run:
    """Opens a run of ``heme-train fit``.

    Raises:
        HemeError: it is not one, or its training has not ended.
    """
    import torch

    if not (path / RUN_FILE).is_file():
        raise HemeError(f"'{path}' is not a training run.", "heme-train fit --run DIR")
    if not (path / WEIGHTS_FILE).is_file():
        raise HemeError(f"The run '{path}' has not ended.", "Run the same heme-train fit again")
    content = json.loads((path / RUN_FILE).read_text())
    network = create_network(content["recipe"]["network"], len(content["codes"]), "none")
    state = torch.load(path / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return Run(
        tuple(content["codes"]),
        (network.eval(),),
        preprocessing(content["mean"], content["std"], content["recipe"]["standardise"]),
        content,
    )


def ensemble_module(run: Run, temperature: float) -> nn.Module:
    """The exported module: uint8 ``[N, 96, 96, 3]`` to probabilities and disagreement.

    Disagreement is the mutual information between members, H(mean p) - mean H(p), in nats.
    """
    import torch
    from torch import Tensor, nn

    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList(run.networks)
            self.prepare = run.prepare

        def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
            pixels = self.prepare(crops)
            p = torch.stack([torch.softmax(m(pixels) / temperature, 1) for m in self.members])
            mean = p.mean(0)
            return mean, (_entropy(mean) - _entropy(p).mean(0)).clamp(min=0.0)

    def _entropy(p: Tensor) -> Tensor:
        return -(p * torch.log(p.clamp(min=1e-7))).sum(-1)

    return Ensemble().eval()


def export_onnx(run: Run, temperature: float, path: Path) -> None:
    """Writes the fp32 ONNX file (opset 17, dynamic N) and checks it."""
    import onnx
    import torch

    module = ensemble_module(run, temperature)
    example = torch.zeros((2, CROP_PX, CROP_PX, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=["crops"],
            output_names=["probabilities", "disagreement"],
            dynamic_axes={name: {0: "N"} for name in ("crops", "probabilities", "disagreement")},
            opset_version=OPSET,
            dynamo=False,  # the dynamo exporter quietly writes opset 18
        )
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    first = model.graph.node[0]
    if first.op_type != "Cast" or "crops" not in first.input:
        raise HemeError("The exported graph does not begin with the Cast of the crops.")
