"""Box geometry: overlaps, and the delta and distance codes. Boxes are (..., 4) xyxy pixels, no +1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from headstart.cached_tensor import cached_tensor

MAX_RATIO = abs(math.log(16 / 1000))
"""Decoded log sizes are clipped to this, so that an untrained head cannot overflow (mmdetection's wh_ratio_clip)."""


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...,); negative sides are not clamped."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def centers(boxes: Tensor) -> Tensor:
    """The centres of boxes: (..., 4) -> (..., 2) as x, y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Intersection area of every pair: (N, 4), (M, 4) -> (N, M)."""
    corner = torch.max(a[:, None, :2], b[None, :, :2])
    opposite = torch.min(a[:, None, 2:], b[None, :, 2:])
    sides = (opposite - corner).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """Intersection over union of every pair: (N, 4), (M, 4) -> (N, M) in 0..1."""
    # torchvision's box_iou is nan for two boxes without area, and the largest overlap of a row would be nan with it.
    common = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - common
    return common / union.clamp(min=eps)


def pairwise_iof(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """The share of each `a` that lies inside each `b` (intersection over foreground): (N, 4), (M, 4) -> (N, M)."""
    return intersections(a, b) / areas(a).clamp(min=eps)[:, None]


def pairwise_diou(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """IoU less (distance of the centres / diagonal of the hull)^2 of every pair: (N, 4), (M, 4) -> (N, M) in -1..1.

    Source: distance IoU (arXiv:1911.08287, equation 6).
    """
    distance = (centers(a)[:, None] - centers(b)[None]).square().sum(dim=-1)
    sides = torch.max(a[:, None, 2:], b[None, :, 2:]) - torch.min(a[:, None, :2], b[None, :, :2])
    return pairwise_iou(a, b, eps) - distance / sides.square().sum(dim=-1).clamp(min=eps)


def aligned_iou(a: Tensor, b: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """IoU of row i of `a` with row i of `b`, and their unions: (N, 4), (N, 4) -> (N,), (N,)."""
    sides = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    union = (areas(a) + areas(b) - common).clamp(min=eps)
    return common / union, union


def aligned_giou(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """Generalised IoU of row i of `a` with row i of `b`: (N, 4), (N, 4) -> (N,) in -1..1 (arXiv:1902.09630)."""
    iou, union = aligned_iou(a, b, eps)
    sides = (torch.max(a[..., 2:], b[..., 2:]) - torch.min(a[..., :2], b[..., :2])).clamp(min=0)
    hull = (sides[..., 0] * sides[..., 1]).clamp(min=eps)
    return iou - (hull - union) / hull


def encode_deltas(anchors: Tensor, boxes: Tensor, stds: tuple[float, float, float, float] = (1, 1, 1, 1)) -> Tensor:
    """(dx, dy, dw, dh) that turn anchors into boxes, divided by `stds` (R-CNN's code): (N, 4), (N, 4) -> (N, 4)."""
    centre, side = _centres(anchors)
    goal_centre, goal_side = _centres(boxes)
    deltas = torch.cat([(goal_centre - centre) / side, torch.log(goal_side / side)], dim=-1)
    return deltas / cached_tensor(stds, deltas.dtype, deltas.device)


def decode_deltas(
    anchors: Tensor,
    deltas: Tensor,
    stds: tuple[float, float, float, float] = (1, 1, 1, 1),
    *,
    shrink_limit: bool = True,
) -> Tensor:
    """The boxes that `deltas` (..., 4) make of `anchors` (..., 4); the inverse of `encode_deltas`.

    No side grows beyond 62.5 times its anchor's, nor with `shrink_limit` below the same part of it.
    """
    deltas = deltas * cached_tensor(stds, deltas.dtype, deltas.device)
    centre, side = _centres(anchors)
    centre = centre + side * deltas[..., :2]
    half = side * deltas[..., 2:].clamp(-MAX_RATIO if shrink_limit else None, MAX_RATIO).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return centers(boxes), boxes[..., 2:] - boxes[..., :2]


def encode_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """(left, top, right, bottom) from points (..., 2) to the sides of boxes (..., 4); negative outside the box."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def decode_distances(points: Tensor, distances: Tensor) -> Tensor:
    """The boxes whose sides lie `distances` from points: (..., 2), (..., 4) -> (..., 4).

    `distances` are of the left, top, right and bottom side, in the units of the points; the inverse of
    `encode_distances`.
    """
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def centreness(distances: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of (N, 4) distances: (N,) in 0..1."""
    across, down = distances[:, 0::2], distances[:, 1::2]
    ratio = (across.amin(dim=1) / across.amax(dim=1)) * (down.amin(dim=1) / down.amax(dim=1))
    return ratio.clamp(min=0).sqrt()
