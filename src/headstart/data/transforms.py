"""Image and boxes changed together, on uint8 pixels: resize, scale, crop, turn, horizontal flip, changes of colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from headstart.data.colour import jitter_hsv
from headstart.data.dataset import Sample
from headstart.data.patch import Patch, visible_patch
from headstart.data.turning import Turn
from headstart.errors import UserError
from headstart.structures import Size


def _half_up(side: float) -> int:
    return math.floor(side + 0.5)


RESIZES: dict[str, Callable[[float], int]] = {"antialias": round, "torchvision": math.floor, "opencv": _half_up}
"""The ways to resize, and how each rounds the sides to whole pixels."""

CROPPED = (0.5, 1.0)
"""From which share of its width and height to which a cropped image keeps."""

MOST_ROTATED, MOST_SHEARED = 180, 45
"""Degrees."""

TRIES = 10
"""So many places are drawn for a crop until one holds an object; the last one counts if none does."""

Scale = tuple[float, float]
"""Least and most of a factor."""


class Transform:
    """Resizes so that the shorter side is `short` px, or a number drawn from (lo, hi), but the longer at most `long`.

    flip    probability of a left-right mirror
    jitter  brightness, contrast and saturation drawn anew for each image
    hsv     hue, saturation and value drawn anew for each image (`headstart.data.colour.jitter_hsv`)
    crop    probability that a part is used in place of the whole: each side is cut to a share drawn from 0.5 to 1
    scale   the size is multiplied by a number drawn from (least, most). What is larger than without it is cut to that
            size at a random place, so that memory and shapes stay those of a run without it; what is smaller stays so
    rotate  turned by an angle drawn from -rotate to rotate degrees, after all that; the size stays
    shear   sheared along either axis by angles drawn from -shear to shear degrees
    square  side of the square that batches are padded to: a scaled image is cut to this
    resize  "antialias", or as another library does it, for detectors that come from there: "torchvision" (bilinear
            between four neighbours, sides cut to whole pixels, values not rounded: float pixels) or "opencv"
            (bilinear too, halves rounded up)
    Boxes that are cut are kept by the rule of `headstart.data.patch.clip_boxes`; the place of a cut is drawn up to ten
    times, until an object is left.
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
        *,
        hsv: bool = False,
        crop: float = 0.0,
        scale: Scale | None = None,
        rotate: float = 0.0,
        shear: float = 0.0,
        square: int | None = None,
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
        for name, value in {"flip": flip, "crop": crop}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} is a probability between 0 and 1, found {value}.")
        if scale is not None and not 0 < scale[0] <= scale[1]:
            raise UserError(f"scale: expected 0 < least <= most, found {scale[0]:g} and {scale[1]:g}.")
        for name, value, most in (("rotate", rotate, MOST_ROTATED), ("shear", shear, MOST_SHEARED)):
            if not 0 <= value <= most:
                raise UserError(f"{name} is an angle between 0 and {most} degrees, found {value:g}.")
        if square is not None and square < long:
            raise UserError(f"a square of {square} px cannot hold images of {long} px.")
        self.jitter = v2.ColorJitter(brightness=0.2, contrast=0.3, saturation=0.3) if jitter else None
        self.hsv, self.crop, self.scale, self.square = hsv, crop, scale, square
        self.rotate, self.shear = rotate, shear

    def __call__(self, sample: Sample) -> Sample:
        """A sample with its image (3, H, W) uint8 (float with "torchvision") resized, and its boxes (M, 4) alike."""
        return self.recolour(self.mirror(self.place(sample)))

    def place(self, sample: Sample) -> Sample:
        """Cropped, resized, scaled and turned."""
        placed = self._resized(sample)
        turn = self.draw_turn()
        return placed if turn is None else turn(placed)

    def _resized(self, sample: Sample) -> Sample:
        if self.crop and torch.rand(()) < self.crop:
            sample = cut_anywhere(sample, _any_part)
        height, width = sample.image.shape[1:]
        target = self.target_size(height, width)
        if self.resize == "torchvision":
            sample = replace(sample, image=sample.image.float())
        if self.scale is not None:
            return self._scaled(sample, target)
        if target == (height, width):
            return sample
        image = F.resize(sample.image, list(target), antialias=self.resize == "antialias")
        y, x = target[0] / height, target[1] / width
        return replace(sample, image=image, boxes=sample.boxes * torch.tensor([x, y, x, y]))

    def mirror(self, sample: Sample) -> Sample:
        """Turned left to right, with the probability of `flip`."""
        if not self.flip or torch.rand(()) >= self.flip:
            return sample
        width = sample.image.shape[2]
        left, top, right, bottom = sample.boxes.unbind(1)
        boxes = torch.stack([width - right, top, width - left, bottom], 1)
        return replace(sample, image=sample.image.flip(-1), boxes=boxes)

    def recolour(self, sample: Sample) -> Sample:
        """With other colours, where `jitter` or `hsv` ask for it."""
        image = sample.image if self.jitter is None else self.jitter(sample.image)
        return replace(sample, image=jitter_hsv(image) if self.hsv else image)

    def target_size(self, height: int, width: int) -> Size:
        """Height and width in pixels after the resize; draws the shorter side at random where it is a range."""
        lo, hi = self.short
        short = lo if lo == hi else int(torch.randint(lo, hi + 1, ()))
        scale = min(short / min(height, width), self.long / max(height, width))
        rounded = RESIZES[self.resize]
        return max(1, rounded(height * scale)), max(1, rounded(width * scale))

    def draw_scale(self) -> float:
        """A number drawn from `scale`, 1 without it."""
        return 1.0 if self.scale is None else uniform(*self.scale)

    def draw_turn(self) -> Turn | None:
        """Angles drawn from what `rotate` and `shear` allow; None without them."""
        if not self.rotate and not self.shear:
            return None
        angle = uniform(-self.rotate, self.rotate)
        return Turn(angle, (uniform(-self.shear, self.shear), uniform(-self.shear, self.shear)))

    def _scaled(self, sample: Sample, target: Size) -> Sample:
        """`target` times a drawn factor, cut to what the image would be without it, or to the square."""
        factor = self.draw_scale()
        height, width = (max(1, round(side * factor)) for side in target)
        limit = target if self.square is None else (self.square, self.square)
        inner = min(height, limit[0]), min(width, limit[1])

        def part(size: Size) -> Patch:
            top, left = (draw_below(outer - kept + 1) for outer, kept in zip((height, width), inner))
            patch = visible_patch(size, (-left, -top, width - left, height - top), (0, 0, inner[1], inner[0]))
            assert patch is not None  # the place lies inside of the image
            return patch

        return cut_anywhere(sample, part, antialias=self.resize == "antialias")


def cut_anywhere(sample: Sample, draw: Callable[[Size], Patch], *, antialias: bool = True) -> Sample:
    """The sample cut as `draw` says of its size (height, width); drawn again, up to ten times, until an object is left.

    A picture without an object is cut at the first place.
    """
    height, width = sample.image.shape[1:]
    wanted = bool((~sample.ignored).any())
    for _ in range(TRIES):
        patch = draw((height, width))
        boxes, left = patch.boxes(sample.boxes, sample.ignored)
        if not wanted or bool((left & ~sample.ignored).any()):
            break
    image = patch.pixels(sample.image, antialias=antialias)
    return replace(sample, image=image, boxes=boxes[left], labels=sample.labels[left], ignored=sample.ignored[left])


def uniform(least: float, most: float) -> float:
    """A number drawn evenly from least to most."""
    return least + (most - least) * float(torch.rand(()))


def draw_below(count: int) -> int:
    """A whole number drawn evenly from 0 to count - 1."""
    return int(torch.randint(count, ()))


def _any_part(size: Size) -> Patch:
    """Width and height cut to a drawn share each, at a random place, not resized."""
    height, width = (max(1, round(side * uniform(*CROPPED))) for side in size)
    top, left = draw_below(size[0] - height + 1), draw_below(size[1] - width + 1)
    return Patch((left, top, left + width, top + height), (0, 0, width, height))
