"""Losses of boxes: sums over rows, the caller divides by its one normaliser."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from headstart.boxes import aligned_giou, aligned_iou


def smooth_l1(prediction: Tensor, goal: Tensor, beta: float = 0.0) -> Tensor:
    """Sum of smooth L1 over all entries of two tensors of one shape, mostly (N, 4): a scalar (arXiv:1504.08083).

    With d = |prediction - goal|: d^2 / (2 beta) where d < beta, else d - beta / 2. `beta` 0 is L1.
    """
    return functional.smooth_l1_loss(prediction, goal, reduction="sum", beta=beta)


def iou_log(boxes: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
    """Sum of -log IoU of aligned boxes (N, 4) times `weight` (N,); IoU is clamped at 1e-6 (arXiv:1608.01471)."""
    iou, _ = aligned_iou(boxes, goal)
    return (-iou.clamp(min=1e-6).log() * weight).sum()


def giou(boxes: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
    """Sum of 1 - GIoU of aligned boxes (N, 4) times `weight` (N,) (arXiv:1902.09630)."""
    return ((1 - aligned_giou(boxes, goal)) * weight).sum()
