"""Assignment by an IoU threshold per object: ATSS and GFL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.assign.max_iou import NEGATIVE, mark_ignored
from headstart.boxes import aligned_iou, centers, encode_distances
from headstart.ordering import stable_topk
from headstart.structures import Targets


@dataclass(frozen=True)
class ATSS:
    """Gives every ground truth those of the anchors near it that overlap it clearly more than the others do.

    topk        how many anchors of each level, those nearest by their centres, are looked at for a ground truth
    margin      how far inside the ground truth an anchor's centre must lie, in pixels
    ignore_iof  an anchor of which more than this share lies in an ignored (crowd, difficult) box is not background

    An anchor is an object if its IoU reaches the mean plus the (sample) standard deviation of all that were looked at.
    One that several ground truths ask for goes to the one that it overlaps most.

    Source: adaptive training sample selection (arXiv:1912.02424), checked against mmdetection (tests/parity,
    dense_atss and dense_gfl).
    """

    topk: int = 9
    margin: float = 0.01
    ignore_iof: float = 0.5

    @torch.no_grad()
    def __call__(
        self, anchors: Tensor, counts: Sequence[int], targets: Targets, usable: Tensor | None = None
    ) -> Tensor:
        """Index of the ground truth (into `targets`) of each anchor (N, 4): (N,) int64, or NEGATIVE, or IGNORED.

        `counts` says how many of the anchors belong to each level, in order. Anchors that are not `usable` (N,) are
        IGNORED and looked at for nobody.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = anchors.new_full((len(anchors),), NEGATIVE, dtype=torch.int64)
        if len(wanted) and len(anchors):
            claims = self._claims(anchors, counts, targets.boxes[wanted], usable)
            best, index = claims.max(dim=0)
            matched = torch.where(best >= 0, wanted[index], matched)
        return mark_ignored(matched, anchors, targets, wanted, usable, self.ignore_iof)

    def thresholds(self, anchors: Tensor, counts: Sequence[int], boxes: Tensor, usable: Tensor | None = None) -> Tensor:
        """The IoU from which an anchor is an object of each of `boxes` (M, 4): (M,). Other arguments as when called."""
        return self._candidates(anchors, counts, boxes, usable)[3]

    def _claims(self, anchors: Tensor, counts: Sequence[int], boxes: Tensor, usable: Tensor | None) -> Tensor:
        """(M, N): the IoU of a ground truth with an anchor that it asks for, else -1."""
        near, reached, overlap, threshold = self._candidates(anchors, counts, boxes, usable)
        inside = encode_distances(centers(anchors)[near], boxes[:, None]).amin(dim=-1) > self.margin
        chosen = reached & inside & (overlap >= threshold[:, None])
        blank = overlap.new_full((len(boxes), len(anchors)), -1.0)
        return blank.scatter(1, near, torch.where(chosen, overlap, -1.0))

    def _candidates(
        self, anchors: Tensor, counts: Sequence[int], boxes: Tensor, usable: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The anchors that are looked at, (M, C), which of them exist, their IoU, and the threshold (M,)."""
        distance = (centers(boxes)[:, None] - centers(anchors)).square().sum(dim=-1)
        if usable is not None:
            distance = distance.masked_fill(~usable, torch.inf)
        near, reached = self._nearest(distance, counts)
        overlap, _ = aligned_iou(boxes[:, None], anchors[near])
        overlap = overlap.masked_fill(~reached, 0.0)
        number = reached.sum(dim=1, keepdim=True)
        mean = overlap.sum(dim=1, keepdim=True) / number.clamp(min=1)
        squares = (overlap - mean).square().masked_fill(~reached, 0.0).sum(dim=1, keepdim=True)
        threshold = mean + (squares / (number - 1).clamp(min=1)).sqrt()
        return near, reached, overlap, threshold[:, 0]

    def _nearest(self, distance: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The anchors that are looked at, (M, C), and which of them exist: a level may have fewer usable ones."""
        values, rows, start = [], [], 0
        for level, count in zip(distance.split(list(counts), dim=1), counts):
            row = stable_topk(level, min(self.topk, count), largest=False)  # anchors at the same distance are common
            values.append(level.gather(1, row))
            rows.append(row + start)
            start += count
        return torch.cat(rows, dim=1), torch.cat(values, dim=1).isfinite()
