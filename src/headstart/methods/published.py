"""The size at which published constants of sums hold, so that means can be weighed by the same constants.

Papers sum squared errors over all entries of a map, so their constants belong to the images and pyramids that they
trained on: COCO at 800 x 1333 pixels, which a batch pads to 800 x 1344, and pyramids of 256 channels. A sum over a map
of stride s there is the mean over its entries times `WIDTH` x `published_cells(s)`. With the mean and these numbers a
term has the published size there, and the same size for other images and narrower or wider pyramids.
"""

from __future__ import annotations

import math

HEIGHT, LENGTH = 800, 1344
"""Pixels."""

WIDTH = 256
"""Channels of a pyramid."""


def published_cells(stride: int) -> int:
    """How many cells a map of `stride` has at the published size: 16800 of stride 8."""
    return math.ceil(HEIGHT / stride) * math.ceil(LENGTH / stride)
