"""Which cells of a pyramid lie in their image, in objects, and in the background.

Masks are (B, 1, H, W) per level. A cell is where it starts: its upper left corner. Ignored boxes (crowd, difficult) are
neither objects nor background, and so is the padding of a batch. An image without labels has no object, and all of it
is "background" here: a mask says how much a place is imitated, not what stands there. No function waits for the device:
objects are painted all at once, image by image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headstart.boxes import areas, pairwise_iou
from headstart.cached_tensor import cached_tensor
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import CellHead
from headstart.priors import base_anchors, place_anchors
from headstart.structures import Size, Targets

FINEST_OBJECT = 56.0
"""Pixels: objects of twice this side and more (square root of the area) do not belong to the finest level."""

PSEUDO_SCALE = 8.0
"""Side, in strides, of the square that stands for a cell where a head has no anchors."""


def valid_cells(sizes: Sequence[Size], maps: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """Which cells start inside their image: bool (B, 1, H, W) for each of `maps` (B, C, H, W).

    sizes    valid (height, width) of each image, pixels: `ImageBatch.sizes`
    strides  of the maps, pixels
    """
    found = []
    for level, stride in zip(maps, strides, strict=True):
        size = cached_tensor(list(sizes), torch.int64, level.device)
        rows = torch.arange(level.shape[-2], device=level.device) * stride < size[:, :1]
        columns = torch.arange(level.shape[-1], device=level.device) * stride < size[:, 1:]
        found.append((rows[:, :, None] & columns[:, None, :])[:, None])
    return found


def density_masks(
    targets: Sequence[Targets], valid: Sequence[Tensor], strides: Sequence[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """FGD's: every object counts as much as any other, whatever its size, and so does the background of every image.

    `valid`: see `valid_cells`. Two float masks per level. Foreground: 1 / (cells of the box), where boxes overlap that
    of the smallest; a box's cells are those from floor(x1 / stride) to ceil(x2 / stride), both included, and alike down
    the image. Background: 1 / (cells of the image outside all boxes), 0 elsewhere.

    Source: FGD (arXiv:2111.11837, equations 3 to 5), repository yzd-v/FGD; there the padding is background too.
    """
    found, others = [], []
    for inside, stride in zip(valid, strides, strict=True):
        shape = _shape(inside)
        objects = torch.stack([_densest(target, shape, stride) for target in targets])[:, None] * inside
        ignored = torch.stack([_union(target.boxes, target.ignored, shape, stride) for target in targets])
        rest = inside & (objects == 0) & ~ignored[:, None]
        found.append(objects)
        others.append(rest / rest.sum(dim=(2, 3), keepdim=True).clamp(min=1))
    return found, others


def level_masks(
    targets: Sequence[Targets], valid: Sequence[Tensor], strides: Sequence[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """DeFeat's: the cells of the objects of each level, and all other cells of the image: two bool masks per level.

    An object belongs to one level, counted from the finest by its side as regions are (`BoxHead`):
    floor(log2(side / 56)), the last level for all larger ones. Its cells are those from floor(x1 / stride) to
    floor(x2 / stride) - 1, at least one, and alike down the image. An ignored box is background on no level.

    Source: DeFeat (arXiv:2103.14475, equation 3), repository ggjy/DeFeat.pytorch.
    """
    found, others = [], []
    levels = [_levels(target.boxes, len(strides)) for target in targets]
    for number, (inside, stride) in enumerate(zip(valid, strides, strict=True)):
        shape = _shape(inside)
        own = [
            _union(target.boxes, ~target.ignored & (level == number), shape, stride)
            for target, level in zip(targets, levels, strict=True)
        ]
        ignored = [_union(target.boxes, target.ignored, shape, stride) for target in targets]
        objects = torch.stack(own)[:, None] & inside
        found.append(objects)
        others.append(inside & ~objects & ~torch.stack(ignored)[:, None])
    return found, others


def anchor_masks(
    targets: Sequence[Targets], valid: Sequence[Tensor], anchors: Sequence[Tensor], *, threshold: float = 0.5
) -> list[Tensor]:
    """FGFI's: cells one of whose anchors overlaps an object nearly as well as the best of the level does; bool.

    anchors    (H * W * A, 4) per level in order (y, x, anchor): see `anchors_of`
    threshold  the IoU must exceed this part of the best anchor's with the object

    Source: fine-grained feature imitation (arXiv:1906.03609), repository twangnh/Distilling-Object-Detectors.
    """
    found = []
    for inside, priors in zip(valid, anchors, strict=True):
        shape = _shape(inside)
        images = [
            _near_anchors(target, area[0], priors, shape, threshold)
            for target, area in zip(targets, inside, strict=True)
        ]
        found.append(torch.stack(images)[:, None] & inside)
    return found


def anchors_of(heads: Sequence[CellHead | None], maps: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """The anchors of every cell of `maps` (B, C, H, W) of `strides`: (H * W * A, 4) per level, in order (y, x, anchor).

    Those of the first of `heads` that has anchors of this stride; where none has, a square of 8 strides around the
    middle of each cell.
    """
    found = []
    for level, stride in zip(maps, strides, strict=True):
        shape = (level.shape[-2], level.shape[-1])
        head = next((h for h in heads if isinstance(h, AnchorHead) and stride in h.strides), None)
        if head is not None:
            priors = head.level_anchors(head.strides.index(stride), shape)
        else:
            priors = place_anchors(base_anchors(stride, [PSEUDO_SCALE], [1.0]), *shape, stride) + stride / 2
        found.append(priors.to(level.device))
    return found


def _shape(mask: Tensor) -> Size:
    return mask.shape[-2], mask.shape[-1]


def _spans(boxes: Tensor, last: Tensor, shape: Size, stride: int) -> tuple[Tensor, Tensor]:
    """Which rows (M, H) and columns (M, W) boxes (M, 4) cover, up to the cells `last` (M, 2) as x, y."""
    first = (boxes[:, :2] / stride).floor()
    y = torch.arange(shape[0], device=boxes.device)
    x = torch.arange(shape[1], device=boxes.device)
    rows = (y >= first[:, 1:]) & (y <= last[:, 1:])
    return rows, (x >= first[:, :1]) & (x <= last[:, :1])


def _densest(target: Targets, shape: Size, stride: int) -> Tensor:
    """1 / cells of the smallest object at each cell, 0 outside: (H, W)."""
    if not len(target):
        return target.boxes.new_zeros(shape)
    last = (target.boxes[:, 2:] / stride).ceil()
    rows, columns = _spans(target.boxes, last, shape, stride)
    count = (last - (target.boxes[:, :2] / stride).floor() + 1).prod(dim=1)
    density = torch.where(target.ignored, 0.0, 1 / count)
    return torch.where(rows[:, :, None] & columns[:, None, :], density[:, None, None], 0.0).amax(dim=0)


def _union(boxes: Tensor, chosen: Tensor, shape: Size, stride: int) -> Tensor:
    """Whether a cell lies in one of the `chosen` (M,) of boxes (M, 4): (H, W) bool; every box has at least one cell."""
    first = (boxes[:, :2] / stride).floor()
    last = torch.maximum((boxes[:, 2:] / stride).floor() - 1, first)
    rows, columns = _spans(boxes, last, shape, stride)
    return (rows & chosen[:, None]).float().T @ columns.float() > 0  # a product: there may be many boxes


def _levels(boxes: Tensor, count: int) -> Tensor:
    """The level (M,) of each box (M, 4)."""
    side = areas(boxes).clamp(min=0).sqrt()
    return torch.log2(side / FINEST_OBJECT + 1e-6).floor().clamp(0, count - 1).long()


def _near_anchors(target: Targets, inside: Tensor, anchors: Tensor, shape: Size, threshold: float) -> Tensor:
    """(H, W) bool for one image, of which the cells `inside` (H, W) count."""
    if not len(target):
        return torch.zeros(shape, dtype=torch.bool, device=anchors.device)
    overlap = pairwise_iou(target.boxes, anchors).unflatten(1, (*shape, -1)).amax(dim=3)
    overlap = overlap * (inside & ~target.ignored[:, None, None])
    return (overlap > threshold * overlap.amax(dim=(1, 2), keepdim=True)).any(dim=0)
