"""How much each group of links counts beside the others: weights that are given, calibrated, controlled or learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Progress

Macro = Literal["calibrated", "controlled", "uncertainty", "fixed"]

LONGEST = 400
"""Steps of calibration, of which a run of fewer than ten times as many has a tenth."""

WINDOW = 200
"""The medians are over the last half of these steps, at most so many."""

EVERY = 25
"""The controller measures the shares in each step whose number is a multiple of this."""

LEAST = 1e-6
"""The least that a group's loss counts as: what is imitated perfectly needs no endless weight."""

CLAMP = (0.1, 10.0)
"""Bounds of what the controller multiplies a weight by at once."""

UNSET = -1.0


def calibration_steps(total: int, given: int | None) -> int:
    """How many of a run's `total` steps only measure: as `given`; else 400, but at most a tenth of the run."""
    return min(LONGEST, total // 10) if given is None else given


def controller_factor(share: Tensor, target: Tensor) -> Tensor:
    """What a weight is multiplied by so that its group's share p of the gradient becomes `target` (0 < target < 1).

    k = target (1 - p) / (p (1 - target)): the solution of k p / (k p + 1 - p) = target; clamped to 0.1 .. 10.
    Source: the form of RT-DETRv4's controller (arXiv:2510.25257).
    """
    factor = target * (1 - share) / (share * (1 - target)).clamp(min=LEAST)
    return factor.clamp(*CLAMP)


class MacroWeights(nn.Module):
    """The weight of each group: `forward` gives the weighted losses, without the schedule in time.

    kind    "fixed": the constants. "calibrated": measured once, then frozen (`_calibrate`). "controlled": the same, and
            then corrected once per epoch where a group's share of the gradient leaves its band. "uncertainty":
            L / (2 s^2) + log s with a learned s of each group (arXiv:1705.07115)
    shares  group -> its constant; of "calibrated" the part of the detection losses that the group is to be, of
            "controlled" its part of the gradient at the student's pyramid too
    steps   of calibration; None: see `calibration_steps`
    band    by how much a share may differ from its target before the controller corrects it

    All that it measures are buffers, equal on all processes and kept in the checkpoint.
    """

    history: Tensor
    weights: Tensor
    measured: Tensor

    def __init__(
        self, kind: Macro, shares: Mapping[str, float], *, steps: int | None = None, band: float = 0.05
    ) -> None:
        super().__init__()
        self.kind, self.shares, self.steps, self.band = kind, dict(shares), steps, band
        groups = len(self.shares)
        self.register_buffer("weights", torch.zeros(groups))
        if kind in ("calibrated", "controlled"):
            self.register_buffer("history", torch.full((WINDOW, groups + 1), UNSET))
        if kind == "controlled":
            # The summed shares of an epoch, how many steps they are of, and which epoch it is.
            self.register_buffer("measured", torch.zeros(groups + 2))
        if kind == "uncertainty":
            self.log_s = nn.Parameter(torch.zeros(groups))

    def forward(
        self, losses: Mapping[str, Tensor], detection: Tensor, progress: Progress, pyramid: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """losses: scalars by group, detection: the sum of the student's own, pyramid: the student's maps."""
        values = torch.stack([losses[group].float() for group in self.shares])
        if self.kind == "uncertainty":
            found = values * (-2 * self.log_s).exp() / 2 + self.log_s
            self._keep((-2 * self.log_s.detach()).exp() / 2)
            return dict(zip(self.shares, found.unbind()))
        if self.kind == "fixed":
            weights = self._keep(self._constants(values))
        else:
            weights = self._calibrate(values.detach(), detection.detach().float(), progress)
            if self.kind == "controlled" and self.training:
                weights = self._control(values, detection, weights, progress, pyramid)
        return dict(zip(self.shares, (values * weights).unbind()))

    def share(self, part: float) -> None:
        """Every group counts only `part` as much."""
        self.shares = {group: value * part for group, value in self.shares.items()}

    def delay(self, total: int) -> int:
        """The steps of a run in which nothing counts yet, because the weights are being measured."""
        return calibration_steps(total, self.steps) if self.kind in ("calibrated", "controlled") else 0

    def _constants(self, like: Tensor) -> Tensor:
        return torch.tensor(list(self.shares.values()), device=like.device)

    def _keep(self, weights: Tensor) -> Tensor:
        """The weights; in training they are what is shown and saved."""
        if self.training:
            self.weights.copy_(weights)
        return weights

    @torch.no_grad()
    def _calibrate(self, values: Tensor, detection: Tensor, progress: Progress) -> Tensor:
        """share x median of the detection losses / median of the group's, over the last half of the first steps.

        Until their end the weights are preliminary, and the schedule in time keeps them from counting. Where nothing
        was measured by then, this very step decides.
        """
        row = mean_over_ranks(torch.cat([values, detection[None]]))
        seen = row[None]
        steps = self.delay(progress.total)
        if progress.step < steps:
            window = max(1, min(WINDOW, steps // 2))
            seen = torch.cat([self.history[1:], seen])[-window:]
        if self.training and progress.step < steps:
            self.history.copy_(torch.cat([self.history[1:], row[None]]))
        middle = torch.where(seen < 0, torch.nan, seen).nanmedian(dim=0).values
        fresh = self._constants(values) * middle[-1] / middle[:-1].clamp(min=LEAST)
        return self._keep(fresh if progress.step < steps else torch.where(self.weights > 0, self.weights, fresh))

    def _control(
        self, values: Tensor, detection: Tensor, weights: Tensor, progress: Progress, pyramid: Sequence[Tensor]
    ) -> Tensor:
        """Measures the shares now and then, and corrects the weights by their means once an epoch is over."""
        if progress.step < self.delay(progress.total) or progress.step % EVERY:
            return weights
        sums, count, epoch = self.measured[:-2], self.measured[-2], self.measured[-1]
        over = (epoch != progress.epoch) & (count > 0)
        share, target = sums / count.clamp(min=1), self._constants(values)
        outside = over & (share > 0) & ((share - target).abs() > self.band)
        weights = self._keep(torch.where(outside, weights * controller_factor(share, target), weights))
        found = mean_over_ranks(gradient_shares(values * weights, detection, pyramid))
        sums, count = torch.where(over, 0.0, sums) + found, torch.where(over, 0.0, count) + 1
        self.measured.copy_(torch.cat([sums, count[None], torch.full_like(count[None], progress.epoch)]))
        return weights

    def text(self, group: str) -> str:
        """What the pairing table says of a group's weight."""
        constant = f"{self.shares[group]:.3g}"
        words = {
            "fixed": constant,
            "calibrated": f"{constant} of the losses, calibrated",
            "controlled": f"{constant} of the gradient, controlled",
            "uncertainty": "learned",
        }
        return words[self.kind]


def gradient_shares(losses: Tensor, detection: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
    """Which part (G,) of the gradient's L1 norm at the student's pyramid each of weighted losses (G,) has.

    The rest to 1 is the detection losses'. A group that does not reach the pyramid (the backbone's) has 0.
    """
    reached = [maps for maps in pyramid if maps.requires_grad]
    norms = []
    for loss in (*losses.unbind(), detection):
        if not reached or not loss.requires_grad:
            norms.append(losses.new_zeros(()))
            continue
        found = torch.autograd.grad(loss, reached, retain_graph=True, allow_unused=True)
        norms.append(sum((g.float().abs().sum() for g in found if g is not None), losses.new_zeros(())))
    every = torch.stack(norms).detach()
    return every[:-1] / every.sum().clamp(min=LEAST)
