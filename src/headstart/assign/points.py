"""Assignment of the points nearest to an object, on the level of its size: RepPoints' first stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.boxes import centers
from headstart.ordering import stable_topk
from headstart.structures import Targets


@dataclass(frozen=True)
class NearestPoints:
    """Gives every ground truth the `count` points next to its centre, on the one level that its size belongs to.

    scale   a box whose sides have a geometric mean of `scale` strides, and up to twice that, belongs to that level;
            smaller and larger ones to the first and last

    Distances are in units of the box's sides. A point that several ground truths ask for goes to the nearest, ties to
    the first. Ignored boxes ask for none; whether they are background is not decided by points.
    Source: RepPoints (arXiv:1904.11490), checked against mmdetection (tests/parity, dense_reppoints).
    """

    scale: float = 4.0
    count: int = 1

    @torch.no_grad()
    def __call__(self, points: Tensor, strides: Tensor, targets: Targets, usable: Tensor | None = None) -> Tensor:
        """Index of the ground truth of each point (N, 2), or NEGATIVE, or IGNORED: (N,) int64.

        `strides` (N,) pixels are those of the points' levels, powers of two. Points that are not `usable` (N,) are
        IGNORED.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = points.new_full((len(points),), NEGATIVE, dtype=torch.int64)
        if len(wanted) and len(points):
            boxes = targets.boxes[wanted]
            sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
            level = strides.log2().long()
            own = ((sides / self.scale).log2().sum(dim=1) / 2).long().clamp(level.min(), level.max())
            distance = ((points - centers(boxes)[:, None]) / sides[:, None]).norm(dim=-1)
            distance = distance.masked_fill(own[:, None] != level, torch.inf)
            if usable is not None:
                distance = distance.masked_fill(~usable, torch.inf)
            rows = stable_topk(distance, min(self.count, len(points)), largest=False)
            near = distance.gather(1, rows)
            best, index = torch.full_like(distance, torch.inf).scatter(1, rows, near).min(dim=0)
            matched = torch.where(best.isfinite(), wanted[index], matched)
        return matched if usable is None else torch.where(usable, matched, IGNORED)
