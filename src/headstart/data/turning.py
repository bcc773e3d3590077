"""A picture turned and sheared around its middle, and its boxes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from headstart.data.dataset import Sample
from headstart.data.patch import FILL, clip_boxes
from headstart.structures import Size


@dataclass(frozen=True)
class Turn:
    """`angle` degrees clockwise, and sheared by `shear` degrees along x and y, around the middle; the size stays.

    A box becomes the box around its four turned corners, as in YOLOX, and is therefore larger than its object. What the
    picture does not cover is 114.
    """

    angle: float
    shear: tuple[float, float] = (0.0, 0.0)

    def __call__(self, sample: Sample) -> Sample:
        """The whole of a sample. Boxes that are cut are kept by the rule of `headstart.data.patch.clip_boxes`."""
        size = sample.image.shape[1], sample.image.shape[2]
        boxes, left = self.boxes(sample.boxes, sample.ignored, size, size)
        image = self.pixels(sample.image, size)
        return replace(sample, image=image, boxes=boxes[left], labels=sample.labels[left], ignored=sample.ignored[left])

    def pixels(self, image: Tensor, goal: Size) -> Tensor:
        """The middle `goal` (height, width) of the turned image (3, H, W); an even number of pixels less on each axis."""
        turned = F.affine(
            image,
            self.angle,
            [0.0, 0.0],
            1.0,
            list(self.shear),
            interpolation=InterpolationMode.BILINEAR,
            fill=FILL,
        )
        top, left = ((side - kept) // 2 for side, kept in zip(image.shape[1:], goal))
        return turned[:, top : top + goal[0], left : left + goal[1]]

    def boxes(self, boxes: Tensor, ignored: Tensor, size: Size, goal: Size) -> tuple[Tensor, Tensor]:
        """Boxes (M, 4) of a picture of `size` in pixels of `goal`, its middle, clipped; and which are left, (M,) bool."""
        height, width = size
        x1, y1, x2, y2 = boxes.unbind(1)
        corners = torch.stack([torch.stack([x, y], 1) for x in (x1, x2) for y in (y1, y2)], 1)
        matrix = boxes.new_tensor(self._matrix())
        turned = (corners - boxes.new_tensor([width / 2, height / 2])) @ matrix.t()
        turned = turned + boxes.new_tensor([goal[1] / 2, goal[0] / 2])
        whole = torch.cat([turned.amin(dim=1), turned.amax(dim=1)], dim=1)
        return clip_boxes(whole, ignored, (0, 0, goal[1], goal[0]))

    def needed(self, side: int) -> int:
        """Side of the square that must be turned so that it covers a square of `side` px in its middle."""
        (a, b), (c, d) = self._matrix()
        # Of the inverse, by which the picture's corners are looked up.
        reach = max(abs(d) + abs(b), abs(c) + abs(a)) / abs(a * d - b * c)
        return side + 2 * max(0, math.ceil(side * (reach - 1) / 2) + 1)

    def _matrix(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """From where a pixel was, seen from the middle, to where it comes; as torchvision's `affine` has it."""
        turn, across, down = (math.radians(degrees) for degrees in (self.angle, *self.shear))
        c, s = math.cos(turn - down) / math.cos(down), math.sin(turn - down) / math.cos(down)
        return (c, -c * math.tan(across) - math.sin(turn)), (s, -s * math.tan(across) + math.cos(turn))
