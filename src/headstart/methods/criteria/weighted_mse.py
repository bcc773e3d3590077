"""Squared errors of maps at the places that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from headstart.losses.normalise import mean_over_ranks
from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of

Where = Callable[[Sequence[Tensor], Step], Mapping[str, Sequence[Tensor]]]
"""Maps (B, C, H, W) that are compared -> for each term how much their cells count: (B, 1, H, W) per level."""


def weighted_mse(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean over cells of the squared error, the mean over channels: a scalar in float32.

    student, teacher (B, C, H, W); weight (B, 1, H, W), at least 0: the sum over the batch, divided by the weights' sum,
    which all processes agree on. 0 with a gradient where nothing counts. Raises ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student's features are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    weight = weight.float()
    error = (student.float() - teacher.detach().float()).square().mean(dim=1, keepdim=True)
    return (error * weight).sum() / mean_over_ranks(weight.sum()).clamp(min=1e-6)


@dataclass(frozen=True)
class WeightedMSE:
    """`weighted_mse` of each level, summed over levels; a term for each way in which cells count.

    terms  the end of each term's name -> its constant;  where  gives the weights of each of them
    """

    terms: Mapping[str, float]
    where: Where

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: a map (B, C, H, W) per level."""
        maps, goals = tensors_of(source), tensors_of(target)
        found = {}
        for term, weights in self.where(maps, step).items():
            levels = [weighted_mse(s, t, w) for s, t, w in zip(maps, goals, weights, strict=True)]
            found[term] = sum(levels[1:], levels[0])
        return found
