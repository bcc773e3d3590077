"""Anchors and points of a pyramid, each with the integer cell it belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from headstart.cached_tensor import cached_tensor
from headstart.structures import CellIndex, Size


def base_anchors(stride: int, scales: Sequence[float], ratios: Sequence[float], *, whole: bool = False) -> Tensor:
    """Anchors around the origin, (A, 4) xyxy with A = ratios x scales, ratio-major.

    A ratio is height / width; sides are stride * scale * (1/sqrt(ratio), sqrt(ratio)). With `whole`, stride * scale is
    cut and the corners are rounded to whole pixels, as in torchvision's AnchorGenerator.
    Order and centres as in mmdetection's AnchorGenerator (tests/parity, `prior/level#`).
    """
    roots = torch.tensor([math.sqrt(r) for r in ratios])
    sizes = torch.tensor(list(scales)) * stride
    sizes = sizes.trunc() if whole else sizes
    widths = (sizes[None, :] / roots[:, None]).flatten()
    heights = (sizes[None, :] * roots[:, None]).flatten()
    base = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
    return base.round() if whole else base


def grid(height: int, width: int, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """Row and column of each cell in row-major order: two int64 (H*W,)."""
    y = torch.arange(height, device=device).repeat_interleave(width)
    x = torch.arange(width, device=device).repeat(height)
    return y, x


def place_anchors(base: Tensor, height: int, width: int, step: int | Size) -> Tensor:
    """`base` (A, 4) repeated at the upper left corner of every cell: (H*W*A, 4), in order (y, x, anchor).

    `step` is the distance of cells in pixels: the level's stride, or one (y, x) for each axis.
    """
    step_y, step_x = _both(step)
    y, x = grid(height, width, base.device)
    shift = torch.stack([x * step_x, y * step_y, x * step_x, y * step_y], dim=1)
    return (shift[:, None, :] + base[None]).reshape(-1, 4)


def place_points(
    height: int, width: int, step: int | Size, device: torch.device | str | None = None, *, within: float = 0.5
) -> Tensor:
    """A point of every cell, (H*W, 2) as x, y pixels, in order (y, x).

    `within` is where it lies: 0.5 the cell's centre, 0 its upper left corner.
    """
    step_y, step_x = _both(step)
    y, x = grid(height, width, device)
    return torch.stack([(x + within) * step_x, (y + within) * step_y], dim=1)


def _both(step: int | Size) -> Size:
    return (step, step) if isinstance(step, int) else step


def index_cells(shapes: Sequence[Size], num_anchors: int, device: torch.device | str | None = None) -> CellIndex:
    """The cell of every prior of a pyramid, flattened in order (level, y, x, anchor)."""
    parts = []
    for level, (height, width) in enumerate(shapes):
        y, x = grid(height, width, device)
        y, x = y.repeat_interleave(num_anchors), x.repeat_interleave(num_anchors)
        anchor = torch.arange(num_anchors, device=device).repeat(height * width)
        parts.append(CellIndex(torch.full_like(y, level), y, x, anchor))
    return CellIndex.cat(parts)


def valid_flags(cells: CellIndex, strides: Sequence[int], size: Size, divisor: int = 32) -> Tensor:
    """Which cells (N,) start inside an image of `size` padded to its own multiple of `divisor`.

    A batch is padded to its largest image; cells of a smaller image beyond its own padding are trained on nothing
    (mmdetection's valid flags).
    """
    height, width = (math.ceil(side / divisor) * divisor for side in size)
    stride = cached_tensor(strides, torch.int64, cells.level.device)[cells.level]
    return (cells.y * stride < height) & (cells.x * stride < width)
