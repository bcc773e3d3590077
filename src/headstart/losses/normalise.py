"""The one normaliser of a loss, agreed between processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


@torch.no_grad()
def mean_over_ranks(count: Tensor) -> Tensor:
    """The mean of a number () or of each of several (N,) over all processes (itself where there is one).

    A sum divided by this, its gradients then averaged over processes, equals the loss of the joined batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return count
    shared = count.detach().clone().float()
    distributed.all_reduce(shared)
    return shared / distributed.get_world_size()


def divisor(count: Tensor) -> Tensor:
    """`mean_over_ranks` of a count () as a number to divide by, in single precision: never 0.

    Where no process has an image with labels, there is nothing to count: sums of nothing are then 0, not 0 / 0.
    """
    return mean_over_ranks(count).float().clamp(min=1e-6)
