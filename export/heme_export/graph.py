"""Checkpoint to ONNX: preprocessing, members, temperature and head in one graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.bundle import HEADS
from heme_edge.crops import CROP_PX
from heme_edge.errors import HemeError
from heme_train.groups import joined_groups, widened
from heme_train.runs import Run

if TYPE_CHECKING:
    from torch import nn

OPSET = 17


def ensemble_module(run: Run, temperature: float) -> nn.Module:
    """The exported module: uint8 ``[N, 96, 96, 3]`` to probabilities and disagreement.

    A member's probabilities are the tempered softmax of its logits or, with a sigmoid head, its
    tempered sigmoids divided by their sum. Disagreement is the mutual information between
    members, H(mean p) - mean H(p), in nats.

    Raises:
        HemeError: the run has a head that is not known.
    """
    import torch
    from torch import Tensor, nn

    if run.head not in HEADS:
        raise HemeError(f"The run has an unknown head '{run.head}'.", f"One of {', '.join(HEADS)}")

    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = nn.ModuleList(run.networks)
            self.prepare = run.prepare

        def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
            pixels = self.prepare(crops)
            p = torch.stack([_probabilities(m(pixels) / temperature) for m in self.members])
            mean = p.mean(0)
            return mean, (_entropy(mean) - _entropy(p).mean(0)).clamp(min=0.0)

    def _probabilities(logits: Tensor) -> Tensor:
        if run.head == "sigmoid":
            logits = -torch.nn.functional.softplus(-logits)  # ln p, whose softmax is p_i / sum(p)
        return torch.softmax(logits, 1)

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
    _take_out_aliases(model)
    _widen_groups(model)
    onnx.save(model, path)
    onnx.checker.check_model(model, full_check=True)
    first = model.graph.node[0]
    if first.op_type != "Cast" or "crops" not in first.input:
        raise HemeError("The exported graph does not begin with the Cast of the crops.")


def _take_out_aliases(model: Any) -> None:
    """Takes out the Identity nodes by which the exporter keeps equal tensors once."""
    held = {tensor.name for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    alias = {
        n.output[0]: n.input[0] for n in nodes if n.op_type == "Identity" and n.input[0] in held
    }
    for node in nodes:
        node.input[:] = [alias.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(n for n in nodes if n.output[0] not in alias)


def _widen_groups(model: Any) -> None:
    """Joins groups of a grouped convolution until 16 channels enter each, with zeros between.

    What comes out is the same to the bit. ONNX Runtime's fast kernels take 16 channels at a time
    and leave narrower groups, such as the 4 of a ResNeXt-50 32x4d, to slow ones.
    """
    from onnx import numpy_helper

    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        group = next((a for a in node.attribute if a.name == "group"), None)
        if node.op_type != "Conv" or group is None or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        joined = joined_groups(weights.shape, group.i)
        if joined > 1:
            wide = widened(weights, group.i, joined)
            node.input[1] += "_wide"
            group.i //= joined
            model.graph.initializer.append(numpy_helper.from_array(wide, node.input[1]))
    used = {name for node in model.graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
