"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

SCHEDULES = {"1x": 12, "2x": 24, "3x": 36}
"""Names people know from mmdetection, in epochs."""

DROPS = (2 / 3, 11 / 12)
"""Where the multi-step schedule drops, as parts of the whole: epochs 8 and 11 of 1x, 16 and 22 of 2x."""


@dataclass(frozen=True)
class LearningRate:
    """The rate of 0-based step t: `base` times a linear warm-up times a multi-step, cosine or constant shape.

    The warm-up goes from `start * base` at step 0 to the full rate, which is first used at step `warmup`
    (mmcv 1.4; the newer mmengine reaches it one step earlier). Multi-step multiplies by `gamma` from each of
    `milestones` (steps) on; cosine goes from 1 to `floor` over `total` steps.
    Source: mmdetection 2.20 with mmcv 1.4.6, tests/parity/test_schedule.py.
    """

    base: float
    total: int
    warmup: int = 500
    start: float = 0.001
    shape: Literal["multistep", "cosine", "constant"] = "multistep"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    floor: float = 0.01

    def __call__(self, step: int) -> float:
        return self.base * self._ramp(step) * self._decay(step)

    @property
    def first_drop(self) -> int | None:
        """The step from which the rate is first lowered; None if it never is.

        A cosine is lowered from the beginning; what waits for the first drop then waits for 2/3 of the run, as in
        HEAD's published recipe of 24 epochs on a cosine, where it is epoch 16.
        """
        if self.shape == "multistep":
            return min(self.milestones, default=None)
        return drops(self.total)[0] if self.shape == "cosine" else None

    def _ramp(self, step: int) -> float:
        if step >= self.warmup:
            return 1.0
        return self.start + (1 - self.start) * step / self.warmup

    def _decay(self, step: int) -> float:
        if self.shape == "multistep":
            return self.gamma ** bisect_right(self.milestones, step)
        if self.shape == "cosine":
            part = min(step / max(self.total, 1), 1.0)
            return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * part)) / 2
        return 1.0


def drops(total: int) -> tuple[int, ...]:
    """The usual milestones of a run of `total` steps: after 2/3 and 11/12 of it."""
    return tuple(round(total * part) for part in DROPS)
