"""RoIAlign: reading a pyramid at boxes.

On a CPU the usual kernel works sample by sample on one core, and its gradient costs several times its result. Both are
sparse products: each cell of a crop is a weighted sum of few cells of the map. Here the weights are made once, axis by
axis (bilinear sampling is separable and so is the mean over samples), and the sums are left to `embedding_bag`. The
result is the same up to rounding; benchmarks/pooling.py has the ratio. Elsewhere torchvision's kernel serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn import functional
from torchvision.ops import roi_align


def read_regions(
    pyramid: Sequence[Tensor],
    strides: Sequence[int],
    image: Tensor,
    boxes: Tensor,
    level: Tensor,
    grid: int,
    *,
    aligned: bool = True,
    sampling_ratio: int = 0,
) -> Tensor:
    """Crops of `grid` x `grid` cells, (R, C, grid, grid), each the mean of bilinear samples (arXiv:1703.06870).

    pyramid [l] (B, C, H, W) at `strides`; region r is boxes[r] (R, 4) pixels of image[r], read from level[r].
    By default half-pixel centres and ceil(side / grid) samples per cell and axis (as in mmcv;
    tests/parity). Without `aligned` coordinates count from the corner of the first cell and a region is at least one
    cell wide and high; `sampling_ratio` is a fixed number of samples instead (torchvision's way, with 2).
    """
    read = _read_sparse if boxes.device.type == "cpu" else _read_kernel
    return read(pyramid, strides, image, boxes, level, grid, aligned, sampling_ratio)


def _read_kernel(
    pyramid: Sequence[Tensor],
    strides: Sequence[int],
    image: Tensor,
    boxes: Tensor,
    level: Tensor,
    grid: int,
    aligned: bool = True,
    sampling_ratio: int = 0,
) -> Tensor:
    # Kernel, maps and boxes share one type, and half precision cannot hold a coordinate: 301 would become 302.
    exact = torch.promote_types(pyramid[0].dtype, torch.float32)
    rois = torch.cat([image[:, None], boxes], dim=1).to(exact)
    crops = pyramid[0].new_zeros(len(rois), pyramid[0].shape[1], grid, grid)
    for index, stride in enumerate(strides):
        rows = (level == index).nonzero().flatten()
        read = roi_align(pyramid[index].to(exact), rois[rows], grid, 1 / stride, sampling_ratio or -1, aligned)
        crops = crops.index_copy(0, rows, read.to(crops.dtype))
    return crops


def _read_sparse(
    pyramid: Sequence[Tensor],
    strides: Sequence[int],
    image: Tensor,
    boxes: Tensor,
    level: Tensor,
    grid: int,
    aligned: bool = True,
    sampling_ratio: int = 0,
) -> Tensor:
    maps = pyramid[: len(strides)]
    channels = maps[0].shape[1]
    table = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])
    sides = torch.tensor([m.shape[-2:] for m in maps])
    starts = torch.tensor([0, *(len(m) * m.shape[2] * m.shape[3] for m in maps[:-1])]).cumsum(0)
    height, width = sides[level].unbind(1)
    with torch.no_grad():
        scaled = boxes.float() / torch.tensor(list(strides))[level, None]
        low, high = scaled.split(2, dim=1)
        if aligned:
            low, high = low - 0.5, high - 0.5
        else:
            high = low + (high - low).clamp(min=1)
        top, rows = axis_weights(low[:, 1], high[:, 1], height, grid, sampling_ratio)
        left, columns = axis_weights(low[:, 0], high[:, 0], width, grid, sampling_ratio)
        base = (starts[level] + image * height * width)[:, None, None] + top[:, :, None] * width[:, None, None]
        base = base + left[:, None, :]
        index, weight, bags = _spread(base, width, rows, columns)
    pooled = _WeightedRows.apply(table, index, weight.to(table.dtype), bags)
    return pooled.reshape(len(boxes), grid, grid, channels).permute(0, 3, 1, 2)


def axis_weights(low: Tensor, high: Tensor, length: Tensor, grid: int, count: int = 0) -> tuple[Tensor, Tensor]:
    """How each of `grid` cells between `low` and `high` (R,) weighs the cells of an axis of `length` (R,).

    All in cells of the map; `count` samples per cell (0: as many as it is wide). Returns the first cell that it reads,
    (R, grid), and the weights from it on, (R, grid, T).
    """
    side = high - low
    samples = torch.full_like(side, count) if count else (side / grid).ceil().clamp(min=0)
    most = int(samples.amax().clamp(min=1)) if len(samples) else 1
    each = torch.arange(most)
    step = side / grid / samples.clamp(min=1)
    place = low[:, None] + side[:, None] / grid * torch.arange(grid)
    place = place[:, :, None] + (each + 0.5) * step[:, None, None]
    used = (each < samples[:, None])[:, None] & (place >= -1) & (place <= length[:, None, None])
    last = (length - 1)[:, None, None]
    place = place.clamp(min=0)
    cell = torch.minimum(place.floor().long(), last)
    share = torch.where(cell >= last, 0.0, place - cell)
    weight = used / samples.clamp(min=1)[:, None, None]
    first = cell[:, :, 0]
    near = torch.where(used, cell - first[:, :, None], 0)
    far = torch.where(used, torch.minimum(cell + 1, last) - first[:, :, None], 0)
    reach = int(far.amax()) + 1 if far.numel() else 1
    weights = torch.zeros(len(low), grid, reach)
    weights.scatter_add_(2, near, weight * (1 - share))
    weights.scatter_add_(2, far, weight * share)
    return first, weights


def _spread(base: Tensor, width: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sparse matrix: for every crop cell in order, which table rows it reads and how much.

    base (R, g, g) first table row of each crop cell. Returns index (E,), weight (E,) and the entries per crop cell.
    Regions differ in reach, so the entries are laid out one after the other instead of padded to the widest: first
    the map's lines that each crop cell reads, then the entries of each line.
    """

    def per_cell(values: Tensor) -> Tensor:
        return values.expand_as(base).flatten()

    def pick(values: Tensor, index: Tensor) -> Tensor:
        return values.flatten().index_select(0, index)  # several times as fast as values[index]

    grid = base.shape[1]
    each = torch.arange(len(base) * grid).reshape(-1, grid)
    tall, wide = per_cell(_reach(rows)[:, :, None]), per_cell(_reach(columns)[:, None, :])
    cell, y = _lay_out(tall)
    first = pick(base, cell) + y * pick(per_cell(width[:, None, None]), cell)
    share = pick(rows, pick(per_cell(each[:, :, None] * rows.shape[2]), cell) + y)
    begin = pick(per_cell(each[:, None, :] * columns.shape[2]), cell)
    line, x = _lay_out(pick(wide, cell))
    return pick(first, line) + x, pick(share, line) * pick(columns, pick(begin, line) + x), tall * wide


def _lay_out(counts: Tensor) -> tuple[Tensor, Tensor]:
    """`counts[i]` entries for each i, one after the other: the i of every entry and its place among those of that i."""
    owner = torch.repeat_interleave(counts)
    return owner, torch.arange(len(owner)) - (counts.cumsum(0) - counts).index_select(0, owner)


def _reach(weights: Tensor) -> Tensor:
    """How many leading entries of each row (..., T) are needed: at least one."""
    return ((weights != 0) * torch.arange(1, weights.shape[-1] + 1)).amax(dim=-1).clamp(min=1)


class _WeightedRows(torch.autograd.Function):
    """Sums of weighted rows of a table, bag by bag; the gradient is the same operation on the transposed matrix."""

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, index: Tensor, weight: Tensor, bags: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight, bags, torch.tensor(len(table)))
        return _sum_bags(table, index, weight, bags)

    @staticmethod
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        index, weight, bags, rows = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        order = index.argsort(stable=True)  # in which order a bag adds up is not left to threads
        sources = torch.repeat_interleave(bags).index_select(0, order)
        counts = torch.bincount(index, minlength=int(rows))
        weight = weight.index_select(0, order)
        return _sum_bags(grads[0].contiguous(), sources, weight, counts), None, None, None


def _sum_bags(table: Tensor, index: Tensor, weight: Tensor, bags: Tensor) -> Tensor:
    offsets = bags.cumsum(0) - bags
    if not len(index):
        return table.new_zeros(len(bags), table.shape[1])
    return functional.embedding_bag(index, table, offsets, mode="sum", per_sample_weights=weight)
