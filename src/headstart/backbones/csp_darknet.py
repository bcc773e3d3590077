"""YOLOX's backbone, CSPDarknet (arXiv:2107.08430), of any width and depth."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from headstart.csp import (
    SPP,
    YOLOX_NORM,
    ConvModule,
    CSPLayer,
    DarknetBlock,
    DepthwiseConv,
    Focus,
    scale_depth,
    scale_width,
)

CHANNELS = (64, 128, 256, 512, 1024)
"""Of the stem and of the stages at strides 4, 8, 16, 32, at `widen` 1."""

BLOCKS = (3, 9, 9, 3)
"""Of each stage, at `deepen` 1."""


class CSPDarknet(nn.Module):
    """Four stages of a convolution that halves the map and a CSP layer, pooled at three sizes before the last.

    widen, deepen  factors of channels and blocks;  depthwise  3x3 convolutions look at each channel alone (YOLOX-nano)

    There are no ImageNet weights: YOLOX trains from scratch, on raw values 0..255. Parameters are called as in
    mmdetection. Checked against it (tests/parity, body_csp_darknet and body_csp_darknet_nano).
    """

    def __init__(self, widen: float, deepen: float, *, depthwise: bool = False) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
        stem, *widths = (scale_width(channels, widen) for channels in CHANNELS)
        made = DepthwiseConv if depthwise else ConvModule
        block = partial(DarknetBlock, depthwise=depthwise)
        self.stem = Focus(stem, YOLOX_NORM)
        self.stages: list[str] = []
        before = stem
        for number, (width, count) in enumerate(zip(widths, BLOCKS, strict=True), start=1):
            last = number == len(widths)
            layers = [made(before, width, 3, YOLOX_NORM, stride=2)]
            if last:
                layers.append(SPP(width, width, YOLOX_NORM))
            layers.append(CSPLayer(width, width, scale_depth(count, deepen), block, YOLOX_NORM, add=not last))
            self.stages.append(f"stage{number}")
            self.add_module(self.stages[-1], nn.Sequential(*layers))
            before = width

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four maps at strides 4, 8, 16 and 32."""
        x = self.stem(pixels)
        maps = []
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps
