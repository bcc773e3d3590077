"""Orders that are a function of values and indices alone: of equal values, the one with the lower index comes first.

torch.topk and torchvision's NMS promise no order of equal values: which of them are kept may depend on the device and
on the number of threads.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


def stable_topk(values: Tensor, count: int, *, largest: bool = True) -> Tensor:
    """Indices (..., count) int64 of the `count` largest (or smallest) values along the last axis, best first.

    values (..., N) are compared in single precision; `count` is at most N. Of equal values those with the lower index
    are taken, and come first.
    """
    # Each value's bits, read as a whole number that orders as the value does, and below them N - 1 - index: no two of
    # these keys are equal, so that topk has no choice. A stable sort would take ten times as long on a CPU.
    signed = (values if largest else -values).float() + 0.0  # -0.0 becomes 0.0, to which it is equal
    bits = signed.view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    last = values.shape[-1] - 1
    keys = ordered.long().mul_(2**32).add_(torch.arange(last, -1, -1, device=values.device))
    return last - (keys.topk(count, dim=-1).values & 0xFFFFFFFF)


def stable_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression within each group: the indices (M,) int64 of the boxes that are left, best first.

    boxes (N, 4) xyxy; scores (N,); groups (N,) int64, at least 0: only boxes of the same group compete. A box is
    removed if its IoU with a better one that is left is more than the threshold. Of equal scores the lower index is the
    better one.
    """
    order = scores.argsort(descending=True, stable=True)
    # Their ranks in place of scores, which batched_nms sorts in its own way. It shifts small sets of boxes apart by
    # group, and takes the groups of large ones one after the other; in single precision the shift rounds the boxes, and
    # the two would disagree. MPS has no double precision.
    exact = boxes[order] if boxes.device.type == "mps" else boxes[order].double()
    ranks = torch.arange(len(order), 0, -1, device=boxes.device, dtype=exact.dtype)
    return order[batched_nms(exact, ranks, groups[order], iou_threshold)]
