"""Classes at cells that are to be a teacher's where it sees objects."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from headstart.losses.normalise import mean_over_ranks
from headstart.methods.masks import valid_cells
from headstart.methods.scores import teacher_scores
from headstart.methods.step import Step
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher


class ScoredClasses:
    """Two outputs of heads with the same priors and classes: FRS's class term, summed over levels.

    Of each level sum m E / sum m over the batch, m the teacher's score of a cell and E the binary cross-entropy with
    the teacher's probabilities, less the teacher's own entropy, summed over classes and anchors. Cells in the padding
    do not count. 0 where they agree; the entropy has no gradient, so gradients are the published ones.

    Source: FRS (arXiv:2111.00674), repository duzhixing/FRS.
    """

    def __init__(self, teacher: Teacher, constant: float) -> None:
        self.teacher = teacher
        self.terms: Mapping[str, float] = {"": constant}

    def __call__(self, source: DenseOutputs, target: DenseOutputs, step: Step) -> dict[str, Tensor]:
        """One scalar; gradients reach `source` alone."""
        strides = self.teacher.model.head.strides
        valid = valid_cells(step.batch.sizes, target.cls, strides)
        scores = teacher_scores(self.teacher, step)
        levels = [
            scored_entropy(own, goal, score * inside)
            for own, goal, score, inside in zip(source.cls, target.cls, scores, valid, strict=True)
        ]
        return {"": torch.stack(levels).sum()}


def scored_entropy(logits: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Of logits (B, A * K, H, W) of a level; weight (B, 1, H, W). A scalar in float32: see `ScoredClasses`."""
    logits, theirs = logits.float(), teacher.detach().float()
    goal = theirs.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(theirs, goal, reduction="none")
    error = (cross - entropy).sum(dim=1, keepdim=True)
    return (error * weight).sum() / mean_over_ranks(weight.sum()).clamp(min=1e-6)
