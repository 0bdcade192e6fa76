"""How a network normalises its activations: by batch, frozen, or by groups of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

CHANNELS_PER_GROUP = 8


def set_norm(network: nn.Module, kind: str) -> nn.Module:
    """Gives a network the norm of a recipe, in place.

    Args:
        network: with batch norm, as timm makes it.
        kind: ``batch`` leaves it; ``group`` puts group norm (8 channels a group, same affine
            weights) in its place; ``frozen`` keeps batch norm at the statistics it has.
    """
    import torch
    from torch import nn

    for name, child in list(network.named_children()):
        if not isinstance(child, nn.modules.batchnorm._BatchNorm):
            set_norm(child, kind)
        elif kind == "group":
            groups = max(1, child.num_features // CHANNELS_PER_GROUP)
            norm = nn.GroupNorm(groups, child.num_features, eps=child.eps)
            with torch.no_grad():
                norm.weight.copy_(child.weight)
                norm.bias.copy_(child.bias)
            # timm's batch norm carries the activation that follows it
            after = [m for m in (getattr(child, "drop", None), getattr(child, "act", None)) if m]
            setattr(network, name, nn.Sequential(norm, *after) if after else norm)
        elif kind == "frozen":
            child.eval()
    return network
