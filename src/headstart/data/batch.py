"""Samples of different sizes become one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

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
