"""The stacked convolutions of a dense head, enterable at any block."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from headstart.heads.init import draw_normal
from headstart.norm import group_norm


class Tower(nn.Module):
    """`depth` blocks of 3x3 convolution and optional GroupNorm, with a ReLU between them and after the last.

    Nothing works in place, and the trace holds each block's value *before* its activation: a method that wants the
    activated one says so by calling relu.
    """

    def __init__(self, channels: int, width: int, depth: int, *, norm: bool = False, bias: bool | None = None) -> None:
        super().__init__()
        bias = not norm if bias is None else bias
        sides = [channels] + [width] * (depth - 1)
        convs = [nn.Conv2d(c, width, 3, padding=1, bias=bias) for c in sides]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(group_norm(width) if norm else nn.Identity() for _ in sides)
        for conv in convs:
            # RetinaNet's 0.01 at 256 channels; a narrow tower keeps that gain instead of fading block by block.
            draw_normal(conv, 0.01 * math.sqrt(256 / conv.in_channels))

    def __len__(self) -> int:
        return len(self.convs)

    def forward(self, x: Tensor, start: int = 0) -> tuple[Tensor, list[Tensor]]:
        """Runs blocks `start`, `start` + 1, ... on x (B, C, H, W).

        For `start` > 0, x is what block `start` - 1 gave before its activation. Returns the activated result and the
        value of every block run, before its activation.
        """
        trace = []
        for index in range(start, len(self.convs)):
            x = functional.relu(x) if index else x
            x = self.norms[index](self.convs[index](x))
            trace.append(x)
        return functional.relu(x), trace
