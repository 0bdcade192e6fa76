"""MixStyle: the look of one crop's early features given to another (Zhou et al., ICLR 2021).

The mean and deviation of an early feature map over its pixels say more of stain, lamp and lens
than of the cell. Mixed at random between the crops of a batch, they stop telling the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGES = 3


def early_stages(network: nn.Module) -> list[nn.Module]:
    """The first three stages of a timm network: ``blocks``, ``stages`` or ``layer1`` to ``3``."""
    for name in ("blocks", "stages"):
        stages: Any = getattr(network, name, None)
        if stages is not None:
            return list(stages)[:STAGES]
    named = (getattr(network, f"layer{i + 1}", None) for i in range(STAGES))
    return [stage for stage in named if stage is not None]


def mix_styles(network: nn.Module, chance: float) -> None:
    """Mixes styles after each early stage, in training only, each time with this chance."""

    def hook(module: nn.Module, _: Any, features: Tensor) -> Tensor:
        import torch

        if not module.training or float(torch.rand(())) >= chance:
            return features
        return mixed(features)

    for stage in early_stages(network):
        stage.register_forward_hook(hook)


def mixed(features: Tensor) -> Tensor:
    """``[N, C, H, W]`` with each crop's channel means and deviations part of another's."""
    import torch

    mean = features.mean((2, 3), keepdim=True).detach()
    deviation = (features.var((2, 3), keepdim=True) + 1e-5).sqrt().detach()
    other = torch.randperm(len(features), device=features.device)
    part = torch.rand((len(features), 1, 1, 1), device=features.device)
    normal = (features - mean) / deviation
    return normal * (part * deviation + (1 - part) * deviation[other]) + (
        part * mean + (1 - part) * mean[other]
    )
