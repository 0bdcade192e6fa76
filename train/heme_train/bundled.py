"""Going on from a bundle: its weights read back out of the ONNX file.

An exported network has no batch norm left; it was folded into the convolutions. Put back as it
is, a batch norm would change what the network says as soon as it is trained. So it is set twice:
first to add the folded bias and nothing else, then, on the crops to be learned, to the statistics
they have there, with the scale and shift that undo them. What the network says stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heme_edge.bundle import load_bundle
from heme_edge.errors import HemeError
from heme_train.groups import joined_groups, narrowed

if TYPE_CHECKING:
    from torch import Tensor, nn

BUNDLE_FILE = "bundle.json"


def is_bundle(weights: str) -> bool:
    """Whether ``weights`` is the folder of a bundle."""
    return (Path(weights) / BUNDLE_FILE).is_file()


def load_bundled(network: nn.Module, path: Path, file: str = "fp32.onnx") -> None:
    """Gives a network the weights of a bundle's only member; the classifier only if it fits.

    Args:
        network: whose convolutions are registered in the order in which they run.
        path: folder of the bundle.
        file: of the network in it.

    Raises:
        HemeError: the bundle is refused, has several members, or is of another network.
    """
    import numpy as np
    import onnx
    import torch
    from onnx import numpy_helper

    bundle = load_bundle(path)
    graph = onnx.load(bundle.path / file).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    layers = [n for n in graph.node if n.op_type == "Conv"]
    pairs = list(_convolutions(network))
    other = HemeError(f"The bundle '{path}' is not one network of this kind.")
    if len(layers) != len(pairs):
        raise other
    with torch.no_grad():
        for node, (convolution, norm) in zip(layers, pairs, strict=True):
            weight, bias = values[node.input[1]], values[node.input[2]]
            joined = joined_groups(tuple(convolution.weight.shape), convolution.groups)
            if weight.shape[1] == joined * convolution.weight.shape[1]:
                weight = narrowed(weight, convolution.groups, joined)
            if tuple(weight.shape) != tuple(convolution.weight.shape):
                raise other
            convolution.weight.copy_(torch.from_numpy(np.array(weight)))
            _set_bias(convolution, norm, torch.from_numpy(np.array(bias)))
        for name, parameter in network.named_parameters():
            value = values.get(f"members.0.{name}")
            if value is not None and value.shape == tuple(parameter.shape):
                parameter.copy_(torch.from_numpy(np.array(value)))


def settle_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Gives every batch norm the statistics it meets, without changing what the network says.

    Args:
        network: from ``load_bundled``.
        batches: inputs ``[N, 3, H, W]`` as they will be trained on.
    """
    import torch

    norms = [norm for _, norm in _convolutions(network) if norm is not None]
    network.eval()
    with torch.inference_mode(), _watched(norms) as sums:
        for pixels in batches:
            network(pixels)
    with torch.no_grad():
        for norm in norms:
            count, total, squares = sums[norm]
            mean = total / count
            variance = (squares / count - mean**2).clamp(min=1e-8)
            bias = norm.bias.clone()
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(bias + mean)


@contextmanager
def _watched(norms: list[Any]) -> Iterator[dict[Any, list[Any]]]:
    """Sums, per channel, of what enters each norm, and of its squares."""
    sums: dict[Any, list[Any]] = {norm: [0, 0.0, 0.0] for norm in norms}

    def hook(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        entering = inputs[0].double()
        held = sums[norm]
        held[0] += entering.numel() // entering.shape[1]
        held[1] = held[1] + entering.sum((0, 2, 3))
        held[2] = held[2] + (entering**2).sum((0, 2, 3))

    handles = [norm.register_forward_pre_hook(hook) for norm in norms]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _set_bias(convolution: Any, norm: Any, bias: Tensor) -> None:
    """The bias of the convolution, or of a batch norm after it that does nothing else."""
    if norm is None:
        convolution.bias.copy_(bias)
        return
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.weight.fill_(1.0)
    norm.bias.copy_(bias)


def _convolutions(network: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Each convolution and the batch norm after it, in the order they are registered.

    The norm of a convolution that has a bias instead is None.
    """
    from torch import nn

    kinds = nn.Conv2d, nn.modules.batchnorm._BatchNorm
    layers = [m for m in network.modules() if isinstance(m, kinds)]
    for layer, after in pairwise([*layers, None]):
        if isinstance(layer, nn.Conv2d):
            norm = after if isinstance(after, kinds[1]) else None
            if (norm is None) != (layer.bias is not None):
                raise HemeError(
                    "A network goes on from a bundle only if each of its convolutions has a bias "
                    "or a batch norm after it.",
                    "start from a run or a checkpoint",
                )
            yield layer, norm
