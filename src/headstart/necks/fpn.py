"""The feature pyramid network, with every way of making the levels beyond the backbone's last stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from headstart.errors import UserError
from headstart.necks.neck import Neck
from headstart.norm import group_norm

Extra = Literal["on_input", "on_lateral", "on_output", "maxpool"]
Norm = Literal["batch", "group"] | None


class FPN(Neck):
    """Stages C_i to a pyramid of one width: 1x1 lateral, top-down sum (nearest), 3x3 output.

    in_channels, in_strides   of all stages; `start` is the index of the first one used (1: from C3)
    levels      how many maps come out; those beyond the stages each halve the one before
    extra       what the first extra level is made of, by a 3x3 convolution of stride 2: the last stage ("on_input"),
                its lateral map ("on_lateral") or the last output ("on_output"); "maxpool" subsamples, no weights
    relu_extra  a ReLU before every extra convolution but the first
    norm        after each convolution, which then has no bias: "batch", "group" (GroupNorm), or None

    Raises UserError for an unknown `extra` or fewer levels than stages.
    Source: FPN (arXiv:1612.03144), RetinaNet (arXiv:1708.02002); mmdetection's FPN, tests/parity/test_fpn_mnv2.py.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        *,
        width: int = 256,
        start: int = 1,
        levels: int = 5,
        extra: Extra = "on_input",
        relu_extra: bool = False,
        norm: Norm = None,
    ):
        super().__init__()
        used = list(in_channels)[start:]
        if extra not in get_args(Extra):
            raise UserError(f"FPN's extra levels must be one of {', '.join(get_args(Extra))}, not '{extra}'")
        if norm not in (None, "batch", "group"):
            raise UserError(f"FPN's norm must be one of None, batch, group, not '{norm}'")
        if not used or levels < len(used):
            raise UserError(
                f"an FPN over stages {start} to {len(in_channels) - 1} needs at least {len(used)} levels, not {levels}"
            )
        self.in_channels = list(in_channels)
        self.width = width
        self.start = start
        self.extra_source = extra
        self.relu_extra = relu_extra
        beyond = levels - len(used)
        self.beyond = beyond
        strides = list(in_strides)[start:]
        self.strides = strides + [strides[-1] * 2 ** (i + 1) for i in range(beyond)]
        self.lateral = nn.ModuleList(_layer(channels, width, 1, norm) for channels in used)
        self.output = nn.ModuleList(_layer(width, width, 3, norm) for _ in used)
        self.extra = nn.ModuleList()
        if extra != "maxpool":
            first = used[-1] if extra == "on_input" else width
            inputs = [first] + [width] * (beyond - 1)
            self.extra.extend(_layer(channels, width, 3, norm, stride=2) for channels in inputs[:beyond])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """All stages, finest first, to `levels` maps (B, width, H/strides[l], W/strides[l]), rounded up."""
        used = stages[self.start :]
        laterals = [conv(stage) for conv, stage in zip(self.lateral, used, strict=True)]
        for finer in range(len(laterals) - 2, -1, -1):
            size = laterals[finer].shape[-2:]
            laterals[finer] = laterals[finer] + F.interpolate(laterals[finer + 1], size=size, mode="nearest")
        pyramid = [conv(lateral) for conv, lateral in zip(self.output, laterals, strict=True)]
        if self.extra_source == "maxpool":
            for _ in range(self.beyond):
                pyramid.append(F.max_pool2d(pyramid[-1], 1, stride=2))
            return pyramid
        source = {"on_input": used[-1], "on_lateral": laterals[-1], "on_output": pyramid[-1]}[self.extra_source]
        for index, conv in enumerate(self.extra):
            if index > 0:
                source = F.relu(pyramid[-1]) if self.relu_extra else pyramid[-1]
            pyramid.append(conv(_at_least_two_wide(source)))
        return pyramid


def _layer(channels: int, width: int, size: int, norm: Norm, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=norm is None)
    if norm is None:
        return conv
    return nn.Sequential(conv, nn.BatchNorm2d(width) if norm == "batch" else group_norm(width))


def _at_least_two_wide(maps: Tensor) -> Tensor:
    """A map of one column with a column of zeros beside it, which is what its convolution's padding holds there.

    In bf16 on AVX512 the gradient of a 3x3 convolution of stride 2 on one column is wrong, often not finite (oneDNN of
    torch 2.15).
    """
    return maps if maps.shape[-1] > 1 else F.pad(maps, (0, 1))
