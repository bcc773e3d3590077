"""Hue, saturation and value of a picture, changed at random."""

from __future__ import annotations

import torch
from torch import Tensor

HUE, SATURATION, VALUE = 10.0, 30.0, 30.0
"""Largest change of the hue in degrees, and of saturation and value on a scale of 0 to 255."""

MISSING = (3.0, 5.0, 1.0)
"""In sixths of a turn: the hue that has no red, no green and no blue in it, at full saturation."""


def jitter_hsv(image: Tensor) -> Tensor:
    """(3, H, W) uint8 RGB, with hue, saturation and value each changed by a number up to its limit, or not at all.

    One number for the whole picture; each of the three is left alone with probability 1/2. Values outside their range
    are clipped. Source: YOLOX's and RTMDet's recipes (mmdetection, YOLOXHSVRandomAug), whose hue has 180 steps.
    """
    drawn = (2 * torch.rand(3) - 1) * torch.randint(0, 2, (3,))
    hue, saturation, value = (drawn * torch.tensor([HUE, SATURATION, VALUE])).tolist()
    if hue == saturation == value == 0:
        return image
    return shift_hsv(image, hue, saturation, value)


def shift_hsv(image: Tensor, hue: float, saturation: float, value: float) -> Tensor:
    """(3, H, W) uint8 RGB with `hue` degrees, `saturation` and `value` (on a scale of 0 to 255) added.

    A grey pixel has hue 0, red, as in OpenCV.
    """
    planes = image.to(torch.float32, memory_format=torch.contiguous_format).contiguous()
    red, green, blue = planes
    brightest = planes.amax(0)
    range_ = brightest - planes.amin(0)
    divisor = range_.clamp(min=1)
    # The hue in sixths of a turn, from -1 to 5.
    angle = torch.where(brightest == red, (green - blue) / divisor, 2 + (blue - red) / divisor)
    blues = (brightest == blue) & (brightest != red) & (brightest != green)
    angle = torch.where(blues, 4 + (red - green) / divisor, angle).add_(hue / 60)
    share = range_.div_(brightest.clamp(min=1)).add_(saturation / 255).clamp_(0, 1)
    level = brightest.add_(value).clamp_(0, 255)
    colour = share.mul_(level)
    result = torch.empty_like(planes)
    for channel, missing in zip(result, MISSING):
        # How much of the saturation is taken from this channel: 1 within a sixth of its missing hue, 0 from two on.
        taken = (angle - missing).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)
        torch.sub(level, taken.mul_(colour), out=channel)
    return result.round_().to(torch.uint8)
