"""Group normalisation as necks and heads use it."""

from __future__ import annotations

import math

from torch import nn


def group_norm(width: int) -> nn.GroupNorm:
    """GroupNorm over `width` channels in 32 groups, in fewer where that would leave a group with one channel.

    A group of one channel has no spread on a map of one cell, which is what the last level of a small image is.
    """
    return nn.GroupNorm(min(math.gcd(32, width), max(width // 2, 1)), width)
