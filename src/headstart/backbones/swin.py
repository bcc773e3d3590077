"""Swin as the detectors of mmdetection use it: windows over a padded map, and a norm on every stage that is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from timm.models import FeatureListNet
    from timm.models.swin_transformer import SwinTransformerBlock


class DetectionSwin(nn.Module):
    """timm's Swin, whose parameters it keeps, with two differences.

    timm shifts a map and pads it then to whole windows, and does not shift where one window covers the map of its
    training size; here maps are padded first and every second block shifts, at any size. A layer norm follows each
    of `stages` (0: C2), which are the maps that it gives.
    Source: Swin (arXiv:2103.14030) and mmdetection's code of it; against torchvision's in tests/backbones/test_swin.py.
    """

    def __init__(self, features: nn.Module, stages: Sequence[int]) -> None:
        from timm.models.swin_transformer import SwinTransformerStage

        super().__init__()
        self.features, self.stages = features, list(stages)
        self.pretrained_cfg = getattr(features, "pretrained_cfg", None)
        for stage in features.children():
            if isinstance(stage, SwinTransformerStage):
                blocks = [cast("SwinTransformerBlock", block) for block in stage.blocks]
                stage.blocks = nn.Sequential(*(PaddedBlock(b, shifts=bool(i % 2)) for i, b in enumerate(blocks)))
        channels = cast("FeatureListNet", features).feature_info.channels()
        self.norms = nn.ModuleList(nn.LayerNorm(channels[stage]) for stage in self.stages)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to maps (B, C, H, W), one for each of `stages`."""
        maps = self.features(pixels)
        return [norm(maps[stage]).permute(0, 3, 1, 2) for stage, norm in zip(self.stages, self.norms)]


class PaddedBlock(nn.Module):
    """A block of timm's Swin that pads before it shifts; the keys of its state dict stay the same."""

    def __init__(self, block: SwinTransformerBlock, *, shifts: bool) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp
        self.drop_path1, self.drop_path2 = block.drop_path1, block.drop_path2
        self.window = block.attn.window_size[0]
        self.shift = self.window // 2 if shifts else 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C), the same shape out."""
        x = x + self.drop_path1(self._attend(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        x = functional.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        mask = None
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
            mask = window_mask(x.shape[1], x.shape[2], self.window, self.shift).to(x)
        x = join_windows(self.attn(split_windows(x, self.window), mask=mask), x.shape, self.window)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window * window, C), windows in reading order; sides are multiples of `window`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def join_windows(windows: Tensor, shape: Sequence[int], window: int) -> Tensor:
    """(B * windows, window * window, C) -> the map (B, H, W, C) of `shape`: the inverse of `split_windows`."""
    batch, height, width, channels = shape
    x = windows.reshape(batch, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(batch, height, width, channels)


def window_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """What is added to the attention inside each window of a shifted map, (windows, window^2, window^2).

    -100 between cells that the shift brought together from opposite sides of the map, else 0. Sides are in cells.
    """

    def regions(side: int) -> Tensor:
        cell = torch.arange(side)
        return (cell >= side - window).long() + (cell >= side - shift).long()

    region = regions(height)[:, None] * 3 + regions(width)[None, :]
    region = split_windows(region[None, :, :, None], window)[:, :, 0]
    return torch.where(region[:, :, None] == region[:, None, :], 0.0, -100.0)
