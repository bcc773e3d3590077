"""How far two box heads' predictions for the same regions are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.cached_tensor import cached_tensor
from headstart.classmap import LEFT_OUT, ClassMap
from headstart.heads.roi import BoxHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.soft_labels import divergence
from headstart.methods.step import Step
from headstart.structures import RegionOutputs


class RegionPredictions:
    """Two outputs of one box head, `head`, for the same regions: from the student's features, and from the teacher's.

    cls  divergence of the class distributions at `temperature`, mean over the regions. Classes that the student's data
         does not have count as background on both sides
    box  L1 between the box codes of the teacher's likeliest class, weighted by that class's probability: their weighted
         mean

    Source: the two-stage branch of CrossKD's code, which its authors call untuned; not the paper's method.
    """

    def __init__(
        self, head: BoxHead, classes: ClassMap, constants: dict[str, float], *, temperature: float = 3.0
    ) -> None:
        self.head, self.classes, self.terms, self.temperature = head, classes, constants, temperature

    def __call__(self, source: RegionOutputs, target: RegionOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `cls` and `box`; gradients reach `source` alone. Outputs are (R, K+1) logits and (R, 4 K) codes."""
        own, goal = self._shared(source.cls.float()), self._shared(target.cls.float()).detach()
        count = mean_over_ranks(own.new_full((), float(max(len(own), 1))))
        sure, best = target.cls.detach().float().softmax(dim=1)[:, self._kept(target.cls)].max(dim=1)
        best = self._kept(target.cls)[best]
        boxes = self.head.codes_of(source, best) - self.head.codes_of(target, best).detach()
        total = mean_over_ranks(sure.sum()).clamp(min=1e-6) * 4
        return {
            "cls": divergence(own, goal, temperature=self.temperature).sum() / count,
            "box": (boxes.abs() * sure[:, None]).sum() / total,
        }

    def _kept(self, like: Tensor) -> Tensor:
        """The teacher's classes that the student's data has: (J,) int64."""
        kept = [row for row, number in enumerate(self.classes.goal) if number != LEFT_OUT]
        return cached_tensor(kept, torch.int64, like.device)

    def _shared(self, logits: Tensor) -> Tensor:
        """(R, K+1) -> (R, J+1): the shared classes, and all else as one."""
        known = self.head.num_classes
        logits = logits[:, : known + 1]
        if self.classes.identical:
            return logits
        rest = [row for row in range(known + 1) if row >= known or self.classes.goal[row] == LEFT_OUT]
        others = logits.index_select(1, cached_tensor(rest, torch.int64, logits.device)).logsumexp(dim=1, keepdim=True)
        return torch.cat([logits[:, self._kept(logits)], others], dim=1)
