"""Image and boxes changed together, on uint8 pixels: keep-ratio resize, horizontal flip, photometric jitter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from headstart.data.dataset import Sample
from headstart.errors import UserError
from headstart.structures import Size


def _half_up(side: float) -> int:
    return math.floor(side + 0.5)


RESIZES: dict[str, Callable[[float], int]] = {"antialias": round, "torchvision": math.floor, "opencv": _half_up}
"""The ways to resize, and how each rounds the sides to whole pixels."""


class Transform:
    """Resizes so that the shorter side is `short` px, or a number drawn from (lo, hi), but the longer at most `long`.

    flip    probability of a left-right mirror
    jitter  brightness, contrast and saturation drawn anew for each image
    resize  "antialias", or as another library does it, for detectors that come from there: "torchvision" (bilinear
            between four neighbours, sides cut to whole pixels, values not rounded: float pixels) or "opencv"
            (bilinear too, halves rounded up)
    The random numbers are torch's own; the loader seeds them by (seed, epoch, image). For validation give a fixed
    `short` and flip=0. Raises UserError for sizes that make no image.
    """

    def __init__(
        self,
        short: int | tuple[int, int] = 800,
        long: int = 1333,
        flip: float = 0.5,
        jitter: bool = False,
        resize: str = "antialias",
    ) -> None:
        if resize not in RESIZES:
            raise UserError(f"images are resized in one of the ways {', '.join(RESIZES)}, not '{resize}'.")
        self.resize = resize
        self.short = (short, short) if isinstance(short, int) else (int(short[0]), int(short[1]))
        self.long = long
        self.flip = flip
        lo, hi = self.short
        if not 1 <= lo <= hi <= long:
            raise UserError(f"image size: expected 1 <= short side <= long side, found short {short} and long {long}.")
        if not 0 <= flip <= 1:
            raise UserError(f"flip is a probability between 0 and 1, found {flip}.")
        self.jitter = v2.ColorJitter(brightness=0.2, contrast=0.3, saturation=0.3) if jitter else None

    def __call__(self, sample: Sample) -> Sample:
        """A sample with its image (3, H, W) uint8 (float with "torchvision") resized, and its boxes (M, 4) alike."""
        height, width = sample.image.shape[1:]
        target = self.target_size(height, width)
        image, boxes = sample.image, sample.boxes
        if self.resize == "torchvision":
            image = image.float()
        if target != (height, width):
            image = F.resize(image, list(target), antialias=self.resize == "antialias")
            y, x = target[0] / height, target[1] / width
            boxes = boxes * torch.tensor([x, y, x, y])
        if self.flip and torch.rand(()) < self.flip:
            image = image.flip(-1)
            left, top, right, bottom = boxes.unbind(1)
            boxes = torch.stack([target[1] - right, top, target[1] - left, bottom], 1)
        if self.jitter is not None:
            image = self.jitter(image)
        return replace(sample, image=image, boxes=boxes)

    def target_size(self, height: int, width: int) -> Size:
        """Height and width in pixels after the resize; draws the shorter side at random where it is a range."""
        lo, hi = self.short
        short = lo if lo == hi else int(torch.randint(lo, hi + 1, ()))
        scale = min(short / min(height, width), self.long / max(height, width))
        rounded = RESIZES[self.resize]
        return max(1, rounded(height * scale)), max(1, rounded(width * scale))
