"""How much a term counts: constant x schedule x unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Progress, Signal, tensors_of

LONGEST_WARMUP = 2000
"""Steps: the warm-up of HEAD's published schedules."""


def linear_warmup(progress: Progress, steps: int) -> float:
    """0 at the first step, 1 from step `steps` on, linear between (`steps` 0: always 1)."""
    return min(progress.step / steps, 1.0) if steps > 0 else 1.0


def active_until(progress: Progress, stop: int | None) -> float:
    """1 up to and including step `stop`, 0 after it (None: always 1)."""
    return 0.0 if stop is not None and progress.step > stop else 1.0


@dataclass(frozen=True)
class Schedule:
    """A factor from 0 to 1 of where training stands.

    warmup  steps over which it grows from 0 to 1; None: `longest`, but at most a tenth of the run
    stop    the last step at which it is not 0; "first_drop": where the learning rate is first lowered; None: no end
    """

    warmup: int | None = 0
    stop: int | Literal["first_drop"] | None = None
    longest: int = LONGEST_WARMUP

    def __call__(self, progress: Progress) -> float:
        steps = min(self.longest, progress.total // 10) if self.warmup is None else self.warmup
        stop = progress.first_drop if self.stop == "first_drop" else self.stop
        return linear_warmup(progress, steps) * active_until(progress, stop)


class TargetVariance(nn.Module):
    """The unit of a squared error: the variance of its target's entries, averaged over the first training steps.

    A squared error divided by it is 1 for whoever answers every entry with their mean and 0 for a perfect imitation,
    whatever the width, age and origin of the teacher. (The variance within each channel would be a finer unit, but it
    nearly vanishes for a teacher that has learned little, and the term explodes.) Kept in the checkpoint; equal on all
    processes; measured in training mode only.

    steps   how many of a run's first steps it is measured in; then it is fixed
    moving  for a target that learns itself: an average that goes on, over about the last `steps` steps
    floor   the unit is at least this part of the variance of what is compared with the target: a target that is nearly
            constant (the towers of a RetinaNet that has learned nothing fade block by block) would make any error
            thousands of units. A moving target begins so, and is measured with the whole variance (1).
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, steps: int = 50, *, moving: bool = False, floor: float | None = None) -> None:
        super().__init__()
        self.steps, self.moving = steps, moving
        self.floor = (1.0 if moving else 0.1) if floor is None else floor
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    @torch.no_grad()
    def forward(self, target: Sequence[Tensor], own: Sequence[Tensor], progress: Progress) -> Tensor:
        """The scalar to divide by; 1 where nothing was measured yet.

        target  one tensor (N, D) of vectors, or a map (B, C, H, W) per level, whose variances are averaged
        own     what is compared with it, of the same shapes
        """
        if self.training and (self.moving or progress.step < self.steps):
            self._measure(target, own)
        return torch.where(self.mean > 0, self.mean, 1.0)

    def _measure(self, target: Sequence[Tensor], own: Sequence[Tensor]) -> None:
        usable = has_spread(target)
        variance = torch.maximum(mean_variance(target), self.floor * mean_variance(own))
        found, weight = mean_over_ranks(torch.stack([variance, variance.new_full((), float(usable))]))
        self.seen += weight
        window = self.steps if self.moving else math.inf
        self.mean += (found - self.mean * weight) / self.seen.clamp(min=1e-6, max=window)


def has_spread(tensors: Sequence[Tensor]) -> bool:
    """Whether there is more than one entry of a kind to compare: a single vector (1, D) has no variance that counts."""
    return len(tensors[0]) > 1 or tensors[0].ndim > 2


def mean_variance(tensors: Sequence[Tensor]) -> Tensor:
    """The mean over tensors of the variance of all entries of each; 0 without spread (`has_spread`)."""
    if not has_spread(tensors):
        return tensors[0].new_zeros((), dtype=torch.float32)
    return torch.stack([x.float().var(correction=0) for x in tensors]).mean()


class Weight(nn.Module):
    """constant x schedule x unit: what a criterion's value is multiplied by.

    unit  None: the plain value, summed over levels. `TargetVariance`: the mean over levels in units of it
    auto  whether the constant is ours to choose, so that it shrinks where several methods guide a student (`share`)
    """

    def __init__(
        self,
        constant: float,
        schedule: Schedule | None = None,
        unit: TargetVariance | None = None,
        *,
        auto: bool = False,
    ) -> None:
        super().__init__()
        self.constant, self.schedule, self.unit, self.auto = constant, schedule or Schedule(), unit, auto

    def forward(self, value: Tensor, target: Signal, own: Signal, progress: Progress, constant: float = 1.0) -> Tensor:
        """The weighted `value`, a scalar; `target` and `own` are what it compared, `constant` is one of its own."""
        if self.unit is not None:
            compared = tensors_of(target)
            value = value / len(compared) / self.unit(compared, tensors_of(own), progress)
        return value * (self.factor(progress) * constant)

    def factor(self, progress: Progress) -> float:
        """constant x schedule."""
        return self.constant * self.schedule(progress)

    def share(self, part: float) -> None:
        """Only `part` of the constant, if the weight is automatic."""
        if self.auto:
            self.constant *= part

    def text(self, constant: float = 1.0) -> str:
        """The constant, times one of the term's own, and its unit, for the pairing table."""
        return f"{self.constant * constant:.3g}" + (" / variance" if self.unit is not None else "")
