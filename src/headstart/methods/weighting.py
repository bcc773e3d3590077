"""How much each distillation term counts: schedules of the step, and scales measured once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Progress


def warm(progress: Progress, steps: int) -> float:
    """0 at the first step, 1 from step `steps` on, linear between (`steps` 0: always 1)."""
    return min(progress.step / steps, 1.0) if steps > 0 else 1.0


def until(progress: Progress, stop: int | None) -> float:
    """1 up to and including step `stop`, 0 after it (None: always 1)."""
    return 0.0 if stop is not None and progress.step > stop else 1.0


class Scale(nn.Module):
    """The variance of a target's entries, averaged over the first `steps` training steps and then fixed.

    `moving`: for a target that learns itself, an average that goes on, over about the last `steps` steps, of its
    variance or that of what is compared with it, whichever is larger: a head that has learned nothing yet may say
    almost nothing (RetinaNet's fades block by block), and its variance alone would be no unit.

    A squared error divided by it is 1 for whoever answers every entry with their mean and 0 for a perfect imitation,
    whatever the width, age and origin of the teacher. (The variance within each channel would be a finer unit, but it
    nearly vanishes for a teacher that has learned little, and the term explodes.) Kept in the checkpoint; equal on all
    processes.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, steps: int = 50, *, moving: bool = False) -> None:
        super().__init__()
        self.steps, self.moving = steps, moving
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    @torch.no_grad()
    def forward(self, target: Sequence[Tensor], progress: Progress, own: Sequence[Tensor] = ()) -> Tensor:
        """The scale to divide by; measured while `progress.step` < `steps`, 1 where nothing was measured yet.

        target  one tensor (N, D) of vectors, or a map (B, C, H, W) per level, whose variances are averaged
        own     what is compared with a moving target, of the same shapes
        """
        if self.moving:
            self._measure(target, own)
        elif progress.step < self.steps:
            self._measure(target)
        return torch.where(self.mean > 0, self.mean, 1.0)

    def _measure(self, *sides: Sequence[Tensor]) -> None:
        usable = len(sides[0][0]) > 1 or sides[0][0].ndim > 2
        variance = torch.stack([_variance(side, usable) for side in sides if side]).amax()
        found, weight = mean_over_ranks(torch.stack([variance, variance.new_full((), float(usable))]))
        self.seen += weight
        window = self.steps if self.moving else math.inf
        self.mean += (found - self.mean * weight) / self.seen.clamp(min=1e-6, max=window)


def _variance(tensors: Sequence[Tensor], usable: bool) -> Tensor:
    """The mean of their variances."""
    return torch.stack([x.float().var(correction=0) if usable else x.new_zeros(()).float() for x in tensors]).mean()
