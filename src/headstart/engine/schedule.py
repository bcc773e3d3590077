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

FLAT_FLOOR = 0.05
"""Where flat-cosine ends, as a share of the full rate."""


@dataclass(frozen=True)
class LearningRate:
    """The rate of 0-based step t: `base` times a warm-up times a multi-step, cosine, flat-cosine or constant shape.

    The warm-up goes from `start * base` at step 0 to the full rate, which is first used at step `warmup`
    (mmcv 1.4; the newer mmengine reaches it one step earlier); linearly, or with the square of the step from 0 on,
    as YOLOX. Multi-step multiplies by `gamma` from each of `milestones` (steps) on; cosine goes from 1 to 1 % over
    `total` steps; flat-cosine is 1 for half of them and goes to 5 % in the other half (RTMDet, arXiv:2212.07784).
    Source: mmdetection 2.20 with mmcv 1.4.6, tests/parity/test_schedule.py.
    """

    base: float
    total: int
    warmup: int = 500
    start: float = 0.001
    ramp: Literal["linear", "quadratic"] = "linear"
    shape: Literal["multistep", "cosine", "flat-cosine", "constant"] = "multistep"
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
        if self.shape == "flat-cosine":
            return self.total // 2 + 1
        return drops(self.total)[0] if self.shape == "cosine" else None

    def _ramp(self, step: int) -> float:
        if step >= self.warmup:
            return 1.0
        if self.ramp == "quadratic":
            return (step / self.warmup) ** 2
        return self.start + (1 - self.start) * step / self.warmup

    def _decay(self, step: int) -> float:
        if self.shape == "multistep":
            return self.gamma ** bisect_right(self.milestones, step)
        if self.shape == "cosine":
            return _cosine(step / max(self.total, 1), self.floor)
        if self.shape == "flat-cosine":
            return _cosine(2 * step / max(self.total, 1) - 1, FLAT_FLOOR)
        return 1.0


def _cosine(part: float, floor: float) -> float:
    """From 1 at part 0 of the way to `floor` at part 1; flat before and after."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(max(part, 0.0), 1.0))) / 2


def drops(total: int) -> tuple[int, ...]:
    """The usual milestones of a run of `total` steps: after 2/3 and 11/12 of it."""
    return tuple(round(total * part) for part in DROPS)
