"""HEAD's light student: MobileNetV2 with LeakyReLU(0.1) whose last map is the 1280-channel head convolution."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

CHANNELS = [24, 32, 96, 1280]
STRIDES = [4, 8, 16, 32]
_LAST_BLOCK_AT = (1, 2, 4)


class LeakyMobileNetV2(nn.Module):
    """timm's mobilenetv2_100 with another activation, keeping the head convolution; parameter names are timm's.

    Source: HEAD (arXiv:2207.05345) configuration mnv2_fpn and mmdetection's MobileNetV2, tests/parity/test_fpn_mnv2.py.
    """

    def __init__(self, **timm_options):
        super().__init__()
        import timm

        activation = partial(nn.LeakyReLU, negative_slope=0.1)
        full: Any = timm.create_model("mobilenetv2_100", act_layer=activation, **timm_options)
        self.pretrained_cfg = full.pretrained_cfg
        self.conv_stem: nn.Module = full.conv_stem
        self.bn1: nn.Module = full.bn1
        self.blocks: nn.Sequential = full.blocks
        self.conv_head: nn.Module = full.conv_head
        self.bn2: nn.Module = full.bn2

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to four maps of CHANNELS at STRIDES."""
        x = self.bn1(self.conv_stem(pixels))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _LAST_BLOCK_AT:
                maps.append(x)
        maps.append(self.bn2(self.conv_head(x)))
        return maps
