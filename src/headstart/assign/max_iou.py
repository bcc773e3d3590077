"""Assignment by the largest overlap: anchors of RetinaNet and RPN, and the RoIs of R-CNN heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.boxes import pairwise_cover, pairwise_iou
from headstart.structures import Targets

IGNORED = -2
NEGATIVE = -1


@dataclass(frozen=True)
class MaxIoU:
    """Gives every box the ground truth that it overlaps most.

    positive   IoU from which a box is an object
    negative   IoU below which it is background; between the two it is not trained
    rescue     IoU from which the best boxes of a ground truth are its objects whatever `positive` says
               (low-quality matches), or None for no such rule
    cover      a box of which more than this share lies in an ignored (crowd, difficult) box is not background

    Source: Faster R-CNN (arXiv:1506.01497) in mmdetection's reading: ties of a rescue go to the last ground truth.
    One departure: a ground truth that overlaps no box at all rescues none (there, all boxes of overlap 0).
    """

    positive: float
    negative: float
    rescue: float | None = None
    cover: float = 0.5

    @torch.no_grad()
    def __call__(self, boxes: Tensor, targets: Targets, usable: Tensor | None = None) -> Tensor:
        """Index of the ground truth (into `targets`) of each box (N, 4): (N,) int64, or NEGATIVE, or IGNORED.

        Boxes that are not `usable` (N,) are IGNORED and rescued by nobody.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = boxes.new_full((len(boxes),), NEGATIVE, dtype=torch.int64)
        if len(wanted) and len(boxes):
            overlap = pairwise_iou(targets.boxes[wanted], boxes)
            if usable is not None:
                overlap = overlap.masked_fill(~usable, -1.0)
            best, index = overlap.max(dim=0)
            matched = torch.where(best >= self.negative, IGNORED, matched)
            matched = torch.where(best >= self.positive, wanted[index], matched)
            if self.rescue is not None:
                matched = self._rescue(overlap, wanted, matched)
        return set_aside(matched, boxes, targets, wanted, usable, self.cover)

    def _rescue(self, overlap: Tensor, wanted: Tensor, matched: Tensor) -> Tensor:
        top = overlap.amax(dim=1, keepdim=True)
        saved = (overlap == top) & (top >= max(self.rescue or 0.0, 1e-9))
        order = torch.arange(len(wanted), device=wanted.device)
        last = torch.where(saved, order[:, None], -1).amax(dim=0)
        return torch.where(last >= 0, wanted[last], matched)


def set_aside(
    matched: Tensor, boxes: Tensor, targets: Targets, wanted: Tensor, usable: Tensor | None, cover: float
) -> Tensor:
    """An assigner's answer (N,) with IGNORED for boxes that are not `usable` and for background in ignored regions.

    A box (N, 4) lies in a region if more than the share `cover` of it does. `wanted` are the indices of the targets
    that are not ignored, so that whether there is anything to do need not be asked of the device again.
    """
    if len(wanted) < len(targets):
        crowd = pairwise_cover(boxes, targets.boxes[targets.ignored]).amax(dim=1) > cover
        matched = torch.where((matched == NEGATIVE) & crowd, IGNORED, matched)
    return matched if usable is None else torch.where(usable, matched, IGNORED)
