"""The detector's network: for each place of a field, is it the middle of a cell, and how large."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEATS = 2
"""Nucleated cells (large ones too), and platelet clumps."""
OUTPUTS = HEATS + 4
"""Heats, ln of the radius in µm, offsets x and y in grid steps, and "too thick to read"."""
RARE_LOGIT = -4.0
"""First guess of the heats: centres are rare."""
WIDTHS = (32, 32, 48, 64)


class CentreNet(nn.Module):
    """Centres as peaks of a heat map (CenterNet; Zhou et al. 2019, arXiv:1904.07850), from a
    network of 0.36 million weights with residual blocks at strides 4, 8 and 16.

    Input ``[N, 3, H, W]`` float32, 0..255, RGB, at 0.5 µm/px; output ``[N, 6, H/4, W/4]``:
    two logits of heat, ln radius (µm), two offsets (grid steps), a logit of "too thick".
    """

    def __init__(self) -> None:
        super().__init__()
        first, quarter, eighth, sixteenth = WIDTHS
        self.stem = nn.Sequential(
            _conv(3, first, 2), _conv(first, quarter, 2), _Block(quarter), _Block(quarter)
        )
        self.eighth = nn.Sequential(_conv(quarter, eighth, 2), *_blocks(eighth))
        self.sixteenth = nn.Sequential(
            _conv(eighth, sixteenth, 2), _Block(sixteenth, 2), _Block(sixteenth, 4)
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.from_sixteenth, self.join_eighth = (
            nn.Conv2d(sixteenth, eighth, 1),
            _conv(eighth, eighth),
        )
        self.from_eighth, self.join_quarter = nn.Conv2d(eighth, quarter, 1), _conv(quarter, quarter)
        self.head = nn.Sequential(_conv(quarter, quarter), nn.Conv2d(quarter, OUTPUTS, 1))
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[:HEATS], RARE_LOGIT)

    def forward(self, field: Tensor) -> Tensor:
        """See the class."""
        quarter = self.stem(field / 128.0 - 1.0)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = self.join_eighth(eighth + self.up(self.from_sixteenth(sixteenth)))
        quarter = self.join_quarter(quarter + self.up(self.from_eighth(eighth)))
        outputs: Tensor = self.head(quarter)
        return outputs


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _blocks(width: int) -> tuple[nn.Module, nn.Module]:
    return _Block(width), _Block(width)


class _Block(nn.Module):
    """Two convolutions and what came in."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _conv(width, width, 1, dilation)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))
