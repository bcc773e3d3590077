"""MobileNets that give other maps than timm's: HEAD's light student, and the one in torchvision's Faster R-CNN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3

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
        full = cast("EfficientNet", timm.create_model("mobilenetv2_100", act_layer=activation, **timm_options))
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


class PairMobileNetV3(nn.Module):
    """timm's mobilenetv3_large_100, giving two maps of stride 32; parameter names are timm's.

    The 160 channels of the first block at that stride, and the 960 of the last convolution: what torchvision's
    fasterrcnn_mobilenet_v3_large_fpn reads (tests/detectors/weights/test_torchvision.py).
    """

    def __init__(self, **timm_options):
        super().__init__()
        import timm

        full = cast("MobileNetV3", timm.create_model("mobilenetv3_large_100", **timm_options))
        self.pretrained_cfg = full.pretrained_cfg
        self.conv_stem: nn.Module = full.conv_stem
        self.bn1: nn.Module = full.bn1
        self.blocks: nn.Sequential = full.blocks

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to (B, 160, H/32, W/32) and (B, 960, H/32, W/32)."""
        x = self.blocks[:5](self.bn1(self.conv_stem(pixels)))
        blocks = cast("nn.Sequential", self.blocks[5])
        first = blocks[0](x)
        return [first, self.blocks[6:](blocks[1:](first))]
