"""Assignment by the largest overlap: anchors of RetinaNet and RPN, and the RoIs of R-CNN heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.boxes import pairwise_iof, pairwise_iou
from headstart.structures import Targets

IGNORED = -2
NEGATIVE = -1


@dataclass(frozen=True)
class MaxIoU:
    """Gives every box the ground truth that it overlaps most.

    pos_iou      IoU from which a box is an object
    neg_iou      IoU below which it is background; between the two it is not trained
    min_pos_iou  a ground truth's boxes of largest IoU are its objects from this IoU on, even where that is below
                 `pos_iou` (low-quality matches); None: no such rule
    ignore_iof   a box of which more than this share lies in an ignored (crowd, difficult) box is not background

    Source: Faster R-CNN (arXiv:1506.01497) as mmdetection reads it: a low-quality match of several ground
    truths goes to the last of them.
    One departure: a ground truth that overlaps no box at all gets none (there, all boxes of IoU 0).
    """

    pos_iou: float
    neg_iou: float
    min_pos_iou: float | None = None
    ignore_iof: float = 0.5

    @torch.no_grad()
    def __call__(self, boxes: Tensor, targets: Targets, usable: Tensor | None = None) -> Tensor:
        """Index of the ground truth (into `targets`) of each box (N, 4): (N,) int64, or NEGATIVE, or IGNORED.

        Boxes that are not `usable` (N,) are IGNORED, also as low-quality matches.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = boxes.new_full((len(boxes),), NEGATIVE, dtype=torch.int64)
        if len(wanted) and len(boxes):
            overlap = pairwise_iou(targets.boxes[wanted], boxes)
            if usable is not None:
                overlap = overlap.masked_fill(~usable, -1.0)
            best, index = overlap.max(dim=0)
            matched = torch.where(best >= self.neg_iou, IGNORED, matched)
            matched = torch.where(best >= self.pos_iou, wanted[index], matched)
            if self.min_pos_iou is not None:
                matched = self._add_low_quality(overlap, wanted, matched)
        return mark_ignored(matched, boxes, targets, wanted, usable, self.ignore_iof)

    def _add_low_quality(self, overlap: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        top = overlap.amax(dim=1, keepdim=True)
        matches = (overlap == top) & (top >= max(self.min_pos_iou or 0.0, 1e-9))
        order = torch.arange(len(wanted), device=wanted.device)
        last = torch.where(matches, order[:, None], -1).amax(dim=0)
        return torch.where(last >= 0, wanted[last], matched)


def mark_ignored(
    matched: Tensor, boxes: Tensor, targets: Targets, wanted: Tensor, usable: Tensor | None, ignore_iof: float
) -> Tensor:
    """An assigner's answer (N,) with IGNORED for boxes that are not `usable` and for background in ignored regions.

    A box (N, 4) lies in a region if more than the share `ignore_iof` of it does. `wanted` are the indices of the
    targets that are not ignored, so that whether there is anything to do need not be asked of the device again.
    """
    if len(wanted) < len(targets):
        crowd = pairwise_iof(boxes, targets.boxes[targets.ignored]).amax(dim=1) > ignore_iof
        matched = torch.where((matched == NEGATIVE) & crowd, IGNORED, matched)
    return matched if usable is None else torch.where(usable, matched, IGNORED)
