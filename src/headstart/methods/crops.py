"""Crops of pyramids at boxes that two detectors share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headstart.heads.pooling import read_regions

SIDE = 14
"""Strides: a box whose sides have a geometric mean of at least this much, and less than twice, is of that level."""

SAMPLES = 2
"""Bilinear samples per cell and axis of a crop: a fixed number, as GID has it, for large boxes on fine levels too."""


def object_level(boxes: Tensor, finest: int, count: int) -> Tensor:
    """The level, 0..count-1 from the finest, that boxes (N, 4) pixels belong to by their size: (N,) int64.

    floor(log2(sqrt(width * height) / (14 finest))), `finest` the stride of level 0, cut to the levels that there are.
    Source: feature pyramid networks (arXiv:1612.03144, equation 1).
    """
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    return torch.log2(side / (SIDE * finest) + 1e-6).floor().clamp(0, count - 1).long()


def crop(
    pyramid: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], level: Tensor, grid: int
) -> Tensor:
    """All images' boxes (R_i, 4) read from a pyramid, in order, region r from level[r]: (R, C, grid, grid)."""
    image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    return read_regions(pyramid, strides, image, torch.cat(list(boxes)), level, grid, sampling_ratio=SAMPLES)


def crop_every_level(
    pyramid: Sequence[Tensor], strides: Sequence[int], boxes: Sequence[Tensor], grid: int
) -> list[Tensor]:
    """The same from each level in turn: [l] (R, C, grid, grid)."""
    count = sum(len(b) for b in boxes)
    where = torch.zeros(count, dtype=torch.int64, device=boxes[0].device)
    return [crop([maps], [stride], boxes, where, grid) for maps, stride in zip(pyramid, strides)]
