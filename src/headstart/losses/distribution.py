"""Numbers predicted as distributions over whole numbers: GFL's edges of boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def integral(logits: Tensor) -> Tensor:
    """The mean of the distribution over 0..n-1 that logits (..., n) stand for: (...,)."""
    values = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return logits.softmax(dim=-1) @ values


def distribution_focal(logits: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
    """Sum of the distribution focal loss (arXiv:2006.04388): the two integers beside each goal share the
    probability.

    logits (N, n) over 0..n-1; goal (N,) real numbers from 0 to less than n-1; weight (N,) per row. Returns a scalar:
    the cross-entropy with the two neighbours of the goal, each the likelier the nearer.
    """
    below = goal.long()
    share = goal - below
    chances = functional.log_softmax(logits, dim=1)
    low, high = (chances.gather(1, bin[:, None])[:, 0] for bin in (below, below + 1))
    return -((low * (1 - share) + high * share) * weight).sum()
