"""The layers of CSPDarknet, CSPNeXt and the path aggregation between them: convolution, norm and SiLU in one.

Parts are called as in mmdetection and timm (`main_conv`, `short_conv`, `blocks`, `depthwise_conv` ...).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.errors import UserError


@dataclass(frozen=True)
class BatchNorm:
    """The two numbers of a batch norm: what is added to the variance, and the share of a batch in the statistics."""

    eps: float = 1e-5
    momentum: float = 0.1

    def __call__(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


RTMDET_NORM = BatchNorm()
YOLOX_NORM = BatchNorm(eps=1e-3, momentum=0.03)

MakeBlock = Callable[[int, bool, BatchNorm], nn.Module]
"""(channels, whether the input is added to the result, norm) -> a block of a CSP layer."""


class ConvModule(nn.Module):
    """Convolution without bias, batch norm, SiLU; padded so that stride 1 keeps the size of (B, C, H, W)."""

    def __init__(
        self, channels: int, width: int, kernel: int, norm: BatchNorm, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
        self.bn = norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.bn(self.conv(x)))


class DepthwiseConv(nn.Module):
    """A ConvModule that looks at each channel alone, and one of 1x1 that mixes them."""

    def __init__(self, channels: int, width: int, kernel: int, norm: BatchNorm, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvModule(channels, channels, kernel, norm, stride=stride, groups=channels)
        self.pointwise_conv = ConvModule(channels, width, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class DarknetBlock(nn.Module):
    """1x1, then 3x3 (`depthwise`: channel by channel), plus the input if `add`."""

    def __init__(self, channels: int, add: bool, norm: BatchNorm, *, depthwise: bool = False) -> None:
        super().__init__()
        made = DepthwiseConv if depthwise else ConvModule
        self.conv1 = ConvModule(channels, channels, 1, norm)
        self.conv2 = made(channels, channels, 3, norm)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv2(self.conv1(x))
        return found + x if self.add else found


class CSPNeXtBlock(nn.Module):
    """3x3, then 5x5 channel by channel, plus the input if `add`."""

    def __init__(self, channels: int, add: bool, norm: BatchNorm) -> None:
        super().__init__()
        self.conv1 = ConvModule(channels, channels, 3, norm)
        self.conv2 = DepthwiseConv(channels, channels, 5, norm)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv2(self.conv1(x))
        return found + x if self.add else found


class CSPLayer(nn.Module):
    """Half of the channels pass through `count` blocks, half pass by; both are joined by a 1x1 convolution.

    (B, channels, H, W) -> (B, width, H, W). Source: CSPNet (arXiv:1911.11929) as YOLOX and RTMDet have it
    (tests/parity, body_csp_darknet and body_cspnext).
    """

    def __init__(
        self, channels: int, width: int, count: int, block: MakeBlock, norm: BatchNorm, *, add: bool = False
    ) -> None:
        super().__init__()
        half = width // 2
        self.main_conv = ConvModule(channels, half, 1, norm)
        self.short_conv = ConvModule(channels, half, 1, norm)
        self.final_conv = ConvModule(2 * half, width, 1, norm)
        self.blocks = nn.Sequential(*(block(half, add, norm) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.final_conv(torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1))


class SPP(nn.Module):
    """A map beside its largest values within 5, 9 and 13 cells, between two 1x1 convolutions; the size stays."""

    kernels = (5, 9, 13)

    def __init__(self, channels: int, width: int, norm: BatchNorm) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = ConvModule(channels, half, 1, norm)
        self.conv2 = ConvModule(half * (1 + len(self.kernels)), width, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [functional.max_pool2d(x, kernel, stride=1, padding=kernel // 2) for kernel in self.kernels]
        return self.conv2(torch.cat([x, *pooled], dim=1))


class Focus(nn.Module):
    """Every second pixel of the image as an image of its own, the four side by side as channels; then a convolution.

    (B, 3, H, W), H and W even, -> (B, width, H / 2, W / 2). In order: top left, bottom left, top right, bottom right.
    """

    def __init__(self, width: int, norm: BatchNorm) -> None:
        super().__init__()
        self.conv = ConvModule(12, width, 3, norm)

    def forward(self, pixels: Tensor) -> Tensor:
        parts = [pixels[..., y::2, x::2] for x in (0, 1) for y in (0, 1)]
        return self.conv(torch.cat(parts, dim=1))


def scale_width(channels: int, widen: float) -> int:
    """`widen` times the channels, cut to a whole number. Raises UserError if fewer than 2 are left."""
    found = int(channels * widen)
    if found < 2:
        raise UserError(f"widen {widen:g} leaves {found} of {channels} channels; use a larger one")
    return found


def scale_depth(blocks: int, deepen: float) -> int:
    """`deepen` times the blocks, rounded (halves to even), at least 1."""
    return max(round(blocks * deepen), 1)
