"""Random choice of what is trained: the anchors of an RPN and the RoIs of an R-CNN head."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from headstart.assign.max_iou import NEGATIVE, MaxIoU
from headstart.structures import CellIndex, Detections, Regions, Targets


def choose(matched: Tensor, count: int, fraction: float) -> tuple[Tensor, Tensor]:
    """At most `count` boxes of `matched` (N,) (an assigner's answer), at most `fraction` of them objects.

    Returns the indices of the objects and of the background boxes, each ascending. The choice is random only where
    more compete than fit (torch's global generator).
    """
    objects = _some((matched >= 0).nonzero().flatten(), int(count * fraction))
    background = _some((matched == NEGATIVE).nonzero().flatten(), count - len(objects))
    return objects, background


def _some(index: Tensor, count: int) -> Tensor:
    if len(index) <= count:
        return index
    kept = torch.randperm(len(index), device=index.device)[:count]
    return index[kept].sort().values


@dataclass(frozen=True)
class RegionSampler:
    """Chooses the RoIs of a step from proposals: ground-truth boxes first, then proposals, objects before background.

    count regions per image, at most `fraction` of them objects; `pos_iou` is the IoU from which a proposal is an
    object. Source: Fast R-CNN (arXiv:1504.08083); order as in mmdetection, so that rows can be compared.
    """

    count: int = 512
    fraction: float = 0.25
    pos_iou: float = 0.5

    @torch.no_grad()
    def __call__(self, proposals: Detections, targets: Targets, num_classes: int) -> Regions:
        """At most `count` regions of one image; labels 0..K-1 of objects, K (`num_classes`) of background.

        Proposals in ignored boxes are not background. Fewer regions where there are not enough of either kind. Of an
        image without labels the first proposals, which are the best, all with label K: nothing is drawn, and no loss
        may read the labels.
        """
        if not targets.labelled:
            first = proposals[: self.count]
            return Regions(first.boxes, torch.full_like(first.labels, num_classes), first.boxes.clone(), first.cells)
        wanted = targets.wanted
        matched = MaxIoU(self.pos_iou, self.pos_iou)(proposals.boxes, targets)
        own = (~targets.ignored).nonzero().flatten()
        boxes = torch.cat([wanted.boxes, proposals.boxes])
        cells = CellIndex.cat([CellIndex.none(len(wanted), boxes.device), proposals.cells])
        matched = torch.cat([own, matched])
        objects, background = choose(matched, self.count, self.fraction)
        kept = torch.cat([objects, background])
        labels = torch.full_like(kept, num_classes)
        labels[: len(objects)] = targets.labels[matched[objects]]
        truth = boxes[kept].clone()
        truth[: len(objects)] = targets.boxes[matched[objects]]
        return Regions(boxes[kept], labels, truth, cells[kept])

    @torch.no_grad()
    def subsample(
        self, regions: list[Regions], targets: list[Targets], num_classes: int
    ) -> tuple[list[Regions], Tensor]:
        """Fewer of the regions that somebody sampled, image by image, by the same rule and in the same order.

        Also which rows of all images' regions, one after the other, these are: (R,) int64.
        """
        kept = [
            torch.cat(choose(torch.where(r.labels < num_classes, 0, NEGATIVE), self.count, self.fraction))
            if target.labelled
            else torch.arange(min(self.count, len(r)), device=r.labels.device)
            for r, target in zip(regions, targets)
        ]
        starts = accumulate((len(r) for r in regions), initial=0)
        return [r[index] for r, index in zip(regions, kept)], torch.cat([i + start for i, start in zip(kept, starts)])
