"""Samples of different sizes become one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from headstart.data.dataset import Sample
from headstart.structures import ImageBatch, Targets

MULTIPLE = 32
"""Height and width of a batch are multiples of the coarsest backbone stride."""


def collate(samples: Sequence[Sample], square: int | None = None) -> tuple[ImageBatch, list[Targets]]:
    """Images (3, h, w) as one batch (B, 3, H, W), and the annotations of each.

    Padded with 0 to the right and below to the largest height and width, rounded up to a multiple of 32, or to a square
    of `square` px, a multiple of 32 that no image exceeds. The dtype is that of the first image.
    """
    sizes = [(sample.image.shape[1], sample.image.shape[2]) for sample in samples]
    if square is None:
        height, width = (-(-max(side) // MULTIPLE) * MULTIPLE for side in zip(*sizes))
    else:
        height = width = square
    pixels = torch.zeros(len(samples), 3, height, width, dtype=samples[0].image.dtype)
    for canvas, sample, (h, w) in zip(pixels, samples, sizes):
        canvas[:, :h, :w] = sample.image
    batch = ImageBatch(pixels, sizes, [sample.id for sample in samples], [sample.original for sample in samples])
    return batch, [Targets(s.boxes, s.labels, s.ignored, s.labelled) for s in samples]


@dataclass(frozen=True)
class MultiScale:
    """Resizes the batch of every step to another side, as YOLOX does (arXiv:2107.08430), which draws one for ten steps.

    base         side of the square that the images of the batches fit into
    least, most  from which side to which, in pixels: multiples of 32, of which each is as likely
    The side depends on (seed, step) alone, so it is the same in all processes and for all lanes.
    """

    base: int
    least: int
    most: int
    seed: int = 0

    def side(self, step: int) -> int:
        """The side that `base` becomes in a step."""
        first, last = self.least // MULTIPLE, self.most // MULTIPLE
        return MULTIPLE * int(np.random.default_rng([self.seed, step]).integers(first, last + 1))

    def __call__(self, images: ImageBatch, targets: list[Targets], step: int) -> tuple[ImageBatch, list[Targets]]:
        """The batch of a step: each image resized without its padding, padded again to multiples of 32."""
        return scale_batch(images, targets, self.side(step), self.base)


def scale_batch(
    images: ImageBatch, targets: Sequence[Targets], side: int, base: int
) -> tuple[ImageBatch, list[Targets]]:
    """A batch with everything `side` / `base` times as large; where these are equal, as it is."""
    if side == base:
        return images, list(targets)
    height, width = (-(-length * side // (base * MULTIPLE)) * MULTIPLE for length in images.pixels.shape[-2:])
    pixels = images.pixels.new_zeros(len(images), 3, height, width)
    sizes, scaled = [], []
    for canvas, image, (h, w), target in zip(pixels, images.pixels, images.sizes, targets):
        size = max(1, round(h * side / base)), max(1, round(w * side / base))
        canvas[:, : size[0], : size[1]] = F.resize(image[:, :h, :w], list(size), antialias=True)
        y, x = size[0] / h, size[1] / w
        sizes.append(size)
        scaled.append(replace(target, boxes=target.boxes * target.boxes.new_tensor([x, y, x, y])))
    return replace(images, pixels=pixels, sizes=sizes), scaled
