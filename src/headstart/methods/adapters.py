"""What lies between a student's features and those that it imitates: layers that are trained and then thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.methods.pairing import Pair
from headstart.structures import Signal


class Adapter(nn.Module):
    """`forward` gives the adapted `source` of a pair; str() is what the pairing table says."""

    def forward(self, pair: Pair) -> Signal:
        raise NotImplementedError


class Identity(Adapter):
    """Nothing in between: both sides must have one width."""

    def forward(self, pair: Pair) -> Signal:
        return pair.source

    def __str__(self) -> str:
        return "-"


class LinearAdapter(Adapter):
    """One linear layer for all rows: (N, channels) -> (N, width)."""

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width, bias=bias)

    def forward(self, pair: Pair) -> list[Tensor]:
        return [self.linear(rows) for rows in pair.tensors]

    def __str__(self) -> str:
        layer = self.linear
        return f"linear {layer.in_features} -> {layer.out_features}" + ("" if layer.bias is not None else ", no bias")


class PerAnchorAdapter(Adapter):
    """One linear layer per anchor shape: row i goes through the layer of its anchor (HEAD's "Decouple")."""

    def __init__(self, num_anchors: int, channels: int, width: int) -> None:
        super().__init__()
        self.num_anchors, self.width = num_anchors, width
        self.linear = nn.Linear(channels, num_anchors * width)

    def forward(self, pair: Pair) -> list[Tensor]:
        if pair.anchor is None:
            raise ValueError("an adapter per anchor needs rows that come from an anchor")
        return [self._rows(rows, pair.anchor) for rows in pair.tensors]

    def _rows(self, rows: Tensor, anchor: Tensor) -> Tensor:
        """(N, channels), (N,) -> (N, width)."""
        every = self.linear(rows).reshape(-1, self.num_anchors, self.width)
        return every[torch.arange(len(rows), device=rows.device), anchor]

    def __str__(self) -> str:
        return f"per_anchor {self.linear.in_features} -> {self.width}"


class ConvAdapter(Adapter):
    """One 1x1 convolution, shared by the levels: (B, channels, H, W) -> (B, width, H, W)."""

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 1, bias=bias)

    def forward(self, pair: Pair) -> list[Tensor]:
        return [self.conv(maps) for maps in pair.tensors]

    def __str__(self) -> str:
        return f"1x1 {self.conv.in_channels} -> {self.conv.out_channels}"


class LevelAdapter(Adapter):
    """A convolution for each level: (B, channels, H, W) -> (B, width, H, W). Where widths agree it begins by changing
    nothing, so that the first step is as without it.

    kernel  1 or 3 cells wide
    """

    def __init__(self, channels: int, width: int, levels: int, kernel: int = 1) -> None:
        super().__init__()
        made = [nn.Conv2d(channels, width, kernel, padding=kernel // 2) for _ in range(levels)]
        self.convs = nn.ModuleList(made)
        for conv in made:
            start_as_identity(conv)
        self.text = f"{kernel}x{kernel} {channels} -> {width} per level"

    def forward(self, pair: Pair) -> list[Tensor]:
        return [conv(maps) for conv, maps in zip(self.convs, pair.tensors, strict=True)]

    def __str__(self) -> str:
        return self.text


def start_as_identity(conv: nn.Conv2d) -> None:
    """Lets a convolution of equal widths give what it gets, so that training begins as without it; others it leaves."""
    if conv.in_channels == conv.out_channels:
        nn.init.dirac_(conv.weight)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
