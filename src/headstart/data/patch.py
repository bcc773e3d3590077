"""A part of one picture resized to a part of another, and what is left of its boxes there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from headstart.structures import Size

FILL = 114
"""Raw value of what no image covers, in all channels."""

LEAST_SIDE = 2.0
"""A box that was cut must keep both sides at least so many pixels long."""

LEAST_SHARE = 0.1
"""And at least this share of its area."""

Edges = tuple[float, float, float, float]
"""x1, y1, x2, y2."""

Region = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels; not empty."""


@dataclass(frozen=True)
class Patch:
    """The pixels `source` of a picture fill the pixels `goal` of another one."""

    source: Region
    goal: Region

    def pixels(self, image: Tensor, *, antialias: bool = True) -> Tensor:
        """(3, h, w) of the goal's size, from the picture (3, H, W); a view of it where nothing is resized."""
        left, top, right, bottom = self.source
        part = image[:, top:bottom, left:right]
        size = [self.goal[3] - self.goal[1], self.goal[2] - self.goal[0]]
        return part if list(part.shape[1:]) == size else F.resize(part, size, antialias=antialias)

    def boxes(self, boxes: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (M, 4) of the picture in pixels of the other one, clipped to the goal, and which are left, (M,) bool."""
        left, top, right, bottom = self.goal
        start_x, start_y, end_x, end_y = self.source
        factor = boxes.new_tensor([(right - left) / (end_x - start_x), (bottom - top) / (end_y - start_y)] * 2)
        whole = (boxes - boxes.new_tensor([start_x, start_y] * 2)) * factor + boxes.new_tensor([left, top] * 2)
        return clip_boxes(whole, ignored, self.goal)


def clip_boxes(boxes: Tensor, ignored: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """Boxes (M, 4) clipped to a region, and which are left, (M,) bool.

    A box is dropped if a side is shorter than 2 px after clipping, or less than 10 % of its area is inside the region.
    An ignored box stays however little of it is inside, because that part is no background either.
    """
    left, top, right, bottom = region
    low, high = boxes.new_tensor([left, top] * 2), boxes.new_tensor([right, bottom] * 2)
    cut = torch.minimum(torch.maximum(boxes, low), high)
    sides, before = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    enough = (sides.prod(1) >= LEAST_SHARE * before.prod(1)) | ignored
    return cut, (sides >= LEAST_SIDE).all(1) & enough


def visible_patch(size: Size, edges: Edges, bounds: Region) -> Patch | None:
    """A picture of `size` (height, width) is stretched to `edges` of another: what is seen of it within `bounds`.

    Cut before it is resized, so that what is not seen costs nothing; the first and last pixels of the source are whole
    ones, and the goal shows exactly them. None if nothing is seen.
    """
    height, width = size
    across = _along(width, edges[0], edges[2], bounds[0], bounds[2])
    down = _along(height, edges[1], edges[3], bounds[1], bounds[3])
    if across is None or down is None:
        return None
    return Patch((across[0], down[0], across[1], down[1]), (across[2], down[2], across[3], down[3]))


def _along(length: int, start: float, end: float, low: int, high: int) -> tuple[int, int, int, int] | None:
    """Along one axis: first and end pixel of the source, first and end pixel of the goal."""
    first, last = max(low, round(start)), min(high, round(end))
    if first >= last:
        return None
    factor = length / (end - start)
    # Rounded before it is cut to whole pixels: 99.9999999 is meant to be 100.
    begin = min(length - 1, max(0, math.floor(round((first - start) * factor, 6))))
    stop = max(begin + 1, min(length, math.ceil(round((last - start) * factor, 6))))
    return begin, stop, first, last
