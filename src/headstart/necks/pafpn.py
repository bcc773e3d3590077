"""The path aggregation network of YOLOX and RTMDet: down the pyramid and up again, with CSP layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.csp import (
    RTMDET_NORM,
    YOLOX_NORM,
    ConvModule,
    CSPLayer,
    CSPNeXtBlock,
    DarknetBlock,
    DepthwiseConv,
    MakeBlock,
)
from headstart.errors import UserError
from headstart.necks.neck import Neck

STRIDES = (8, 16, 32)

Kind = Literal["cspnext", "darknet"]


class PAFPN(Neck):
    """Stages C3, C4, C5 to P3, P4, P5 of one width.

    in_channels, in_strides   of all stages of the backbone
    width      of the pyramid; between, the three levels are 1, 2 and 4 times as wide, as the official stages are
    blocks     of each CSP layer
    kind       "cspnext": RTMDet's blocks and 3x3 output convolutions; "darknet": YOLOX's and 1x1
    depthwise  YOLOX-nano's: 3x3 convolutions look at each channel alone

    Raises UserError for stages without strides 8, 16 and 32.
    Source: YOLOX (arXiv:2107.08430), RTMDet (arXiv:2212.07784); mmdetection's YOLOXPAFPN and CSPNeXtPAFPN, whose names
    the parts have (tests/parity, body_csp_darknet, body_csp_darknet_nano, body_cspnext).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        *,
        width: int = 128,
        blocks: int = 1,
        kind: Kind = "cspnext",
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        missing = [stride for stride in STRIDES if stride not in in_strides]
        if missing:
            raise UserError(f"a PAFPN reads stages of strides 8, 16 and 32; there is none of {missing[0]}")
        self.used = [list(in_strides).index(stride) for stride in STRIDES]
        self.width, self.strides, self.kind = width, list(STRIDES), kind
        fine, middle, coarse = (in_channels[index] for index in self.used)
        norm = RTMDET_NORM if kind == "cspnext" else YOLOX_NORM
        block: MakeBlock = CSPNeXtBlock if kind == "cspnext" else partial(DarknetBlock, depthwise=depthwise)
        down = DepthwiseConv if depthwise else ConvModule
        w, ww, wwww = width, 2 * width, 4 * width

        def layer(channels: int, out: int) -> CSPLayer:
            return CSPLayer(channels, out, blocks, block, norm)

        self.reduce_layers = nn.ModuleList([ConvModule(coarse, ww, 1, norm), ConvModule(ww, w, 1, norm)])
        self.top_down_blocks = nn.ModuleList([layer(ww + middle, ww), layer(w + fine, w)])
        self.downsamples = nn.ModuleList([down(w, w, 3, norm, stride=2), down(ww, ww, 3, norm, stride=2)])
        self.bottom_up_blocks = nn.ModuleList([layer(2 * w, ww), layer(2 * ww, wwww)])
        size = 3 if kind == "cspnext" else 1
        self.out_convs = nn.ModuleList(ConvModule(channels, width, size, norm) for channels in (w, ww, wwww))

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """All stages, finest first, to three maps (B, width, H / 8, W / 8), ... at strides 8, 16 and 32."""
        fine, middle, coarse = (stages[index] for index in self.used)
        top = self.reduce_layers[0](coarse)
        centre = self.reduce_layers[1](self.top_down_blocks[0](_above(top, middle)))
        low = self.top_down_blocks[1](_above(centre, fine))
        # Up again beside the reduced maps, not beside those that were joined.
        centre = self.bottom_up_blocks[0](torch.cat([self.downsamples[0](low), centre], dim=1))
        top = self.bottom_up_blocks[1](torch.cat([self.downsamples[1](centre), top], dim=1))
        return [conv(level) for conv, level in zip(self.out_convs, (low, centre, top), strict=True)]


def _above(coarse: Tensor, fine: Tensor) -> Tensor:
    """The coarser map at the size of the finer one, and the finer one, as channels."""
    return torch.cat([functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest"), fine], dim=1)
