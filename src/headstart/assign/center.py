"""Assignment by position and size: the points of FCOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.boxes import areas, centers, encode_distances
from headstart.cached_tensor import cached_tensor
from headstart.structures import Targets


@dataclass(frozen=True)
class CenterRange:
    """Gives every point the smallest ground truth around it whose size suits the point's level.

    ranges   per level, the largest of the four distances that the level answers for, in pixels, both ends included
    radius   None: the point must lie in the box; else in the box's middle, `radius` strides to each side
             (clipped to the box)

    Source: FCOS (arXiv:1904.01355), checked against mmdetection (tests/parity, dense_fcos and dense_fcos_tricks).
    A point in an ignored (crowd, difficult) box is not background.
    """

    ranges: Sequence[tuple[float, float]]
    radius: float | None = None

    @torch.no_grad()
    def __call__(self, points: Tensor, level: Tensor, strides: Tensor, targets: Targets) -> Tensor:
        """Index of the ground truth of each point (N, 2), or NEGATIVE, or IGNORED: (N,) int64.

        `level` (N,) and `strides` (N,) pixels are those of the points.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = torch.full_like(level, NEGATIVE)
        if len(wanted):
            boxes = targets.boxes[wanted]
            distances = encode_distances(points[:, None], boxes[None])
            limits = cached_tensor(self.ranges, points.dtype, points.device)[level]
            reach = distances.amax(dim=-1)
            fits = (reach >= limits[:, :1]) & (reach <= limits[:, 1:])
            fits &= self._near(points, strides, boxes, distances)
            size = areas(boxes)[None].expand_as(fits).masked_fill(~fits, torch.inf)
            smallest, index = size.min(dim=1)
            matched = torch.where(smallest.isinf(), matched, wanted[index])
        return ignore_inside(matched, points, targets, wanted)

    def _near(self, points: Tensor, strides: Tensor, boxes: Tensor, distances: Tensor) -> Tensor:
        if self.radius is None:
            return distances.amin(dim=-1) > 0
        centres = centers(boxes)
        reach = (strides * self.radius)[:, None, None]
        low = torch.max(centres[None] - reach, boxes[None, :, :2])
        high = torch.min(centres[None] + reach, boxes[None, :, 2:])
        return torch.cat([points[:, None] - low, high - points[:, None]], dim=-1).amin(dim=-1) > 0


def ignore_inside(matched: Tensor, points: Tensor, targets: Targets, wanted: Tensor) -> Tensor:
    """An assigner's answer (N,) with IGNORED for background points (N, 2) that lie in an ignored box.

    `wanted` are the indices of the targets that are not ignored.
    """
    if len(wanted) == len(targets):
        return matched
    crowd = encode_distances(points[:, None], targets.boxes[targets.ignored][None]).amin(dim=-1) > 0
    return torch.where((matched == NEGATIVE) & crowd.any(dim=1), IGNORED, matched)
