"""The stacked convolutions of a dense head, enterable at any block."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from headstart.csp import BatchNorm, ConvModule
from headstart.heads.init import draw_normal
from headstart.norm import group_norm

SILU_MINIMUM = -0.27846455
"""The least that SiLU gives: at x = -1.2784645."""


class Tower(nn.Module):
    """`depth` blocks of 3x3 convolution and optional GroupNorm, with a ReLU between them and after the last.

    Nothing works in place, and the trace holds each block's value *before* its activation: a method that wants the
    activated one says so by calling `activate`.

    minimum  the least that `activate` gives
    """

    minimum = 0.0

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

    def activate(self, x: Tensor) -> Tensor:
        """What stands between the blocks, and after the last: (B, C, H, W), or any other shape."""
        return functional.relu(x)

    def run_block(self, x: Tensor, index: int, level: int) -> Tensor:
        """Convolution and norm of block `index` on an activated map (B, C, H, W) of a level."""
        return self.norms[index](self.convs[index](x))

    def forward(
        self, x: Tensor, start: int = 0, level: int = 0, *, activated: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs blocks `start`, `start` + 1, ... on x (B, C, H, W), a map of level `level`.

        For `start` > 0, x is what block `start` - 1 gave before its activation, or after it if `activated`. Returns the
        activated result and the value of every block run, before its activation.
        """
        if start and not activated:
            x = self.activate(x)
        trace = []
        for index in range(start, len(self)):
            trace.append(self.run_block(x, index, level))
            x = self.activate(trace[-1])
        return x, trace


class LevelTower(Tower):
    """The towers of RTMDet and YOLOX: 3x3 convolutions with a batch norm of each level, and SiLU.

    levels     how many maps there are
    shared     one convolution for all levels (RTMDet); else one for each (YOLOX)
    depthwise  a convolution looks at each channel alone, and after norm and SiLU one of 1x1 mixes them (YOLOX-nano)
    std        of the normal distribution that convolutions start from; None: PyTorch's own
    """

    minimum = SILU_MINIMUM

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        levels: int,
        norm: BatchNorm,
        *,
        shared: bool,
        depthwise: bool = False,
        std: float | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.depth, self.shared = depth, shared
        sides = [channels] + [width] * (depth - 1)

        def block(inputs: int) -> nn.Module:
            if depthwise:
                first = ConvModule(inputs, inputs, 3, norm, groups=inputs)
                return nn.Sequential(first, nn.Conv2d(inputs, width, 1, bias=False))
            return nn.Conv2d(inputs, width, 3, padding=1, bias=False)

        stacks = [nn.ModuleList(block(side) for side in sides) for _ in range(1 if shared else levels)]
        self.convs = stacks[0] if shared else nn.ModuleList(stacks)
        self.norms = nn.ModuleList(nn.ModuleList(norm(width) for _ in sides) for _ in range(levels))
        if std is not None:
            for layer in self.convs.modules():
                if isinstance(layer, nn.Conv2d):
                    draw_normal(layer, std)

    def __len__(self) -> int:
        return self.depth

    def activate(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def run_block(self, x: Tensor, index: int, level: int) -> Tensor:
        convs = self.convs if self.shared else cast(nn.ModuleList, self.convs[level])
        norms = cast(nn.ModuleList, self.norms[level])
        return norms[index](convs[index](x))
