"""How far two dense heads' predictions are apart cell by cell, whatever their kinds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from headstart.boxes import aligned_giou
from headstart.classmap import ClassMap
from headstart.heads.cells import flatten, shapes
from headstart.heads.dense import DenseHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.predictions import decode_all
from headstart.methods.criteria.soft_labels import soft_focal
from headstart.methods.step import Step
from headstart.priors import index_cells, valid_flags
from headstart.structures import DenseOutputs


class CellPredictions:
    """The student's own predictions and the teacher's, of the cells that both have.

    Of each side a cell gives the logits and the box of its likeliest anchor. cls: quality focal loss with the teacher's
    probabilities as soft labels (beta 1), of the classes that both know, divided by the student's positives, at least
    one per image. box: 1 - GIoU of the decoded boxes, weighted by the teacher's largest probability w, divided by the
    sum of w. The logits of a head with an objectness (YOLOX) are those of class times objectness. Cells outside an
    image (padded to a multiple of 32) do not count.

    It is the conventional way that CrossKD is compared with, in our own form for heads of different kinds: the paper's
    was not released.
    """

    def __init__(self, student: DenseHead, teacher: DenseHead, classes: ClassMap, constants: dict[str, float]) -> None:
        self.student, self.teacher, self.classes, self.terms = student, teacher, classes, constants

    def __call__(self, source: DenseOutputs, target: DenseOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `cls` and `box`; gradients reach `source` alone."""
        levels = len(target.cls)
        own, boxes = best_of_cells(self.student, source, levels, self.classes.pick)
        with torch.no_grad():
            goal, goals = best_of_cells(self.teacher, target, levels, self.classes.pull_logits)
        cells = index_cells(shapes(target), 1, goal.device)
        inside = [valid_flags(cells, self.teacher.strides, size) for size in step.batch.sizes]
        mask = torch.stack(inside).float()
        sure = goal.amax(dim=-1).sigmoid() * mask
        count = mean_over_ranks(step.assignment.positive.sum(dim=1).clamp(min=1).sum())
        cls = soft_focal(own.flatten(0, 1), goal.flatten(0, 1), mask.flatten())
        total = mean_over_ranks(sure.sum()).clamp(min=1e-6)
        return {"cls": cls / count, "box": ((1 - aligned_giou(boxes, goals)) * sure).sum() / total}


def best_of_cells(
    head: DenseHead, outputs: DenseOutputs, levels: int, shared: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The logits (B, N, J) and decoded box (B, N, 4) of the likeliest anchor of every cell of the first levels.

    `shared` takes from logits (..., K) those of the classes that are compared.
    """
    logits, boxes = (x.unflatten(1, (-1, head.num_anchors)) for x in every_prior(head, outputs, levels, shared))
    best = logits.detach().amax(dim=-1).argmax(dim=-1)[..., None, None]
    return (
        logits.gather(2, best.expand(-1, -1, -1, logits.shape[-1]))[:, :, 0],
        boxes.gather(2, best.expand(-1, -1, -1, 4))[:, :, 0],
    )


def every_prior(
    head: DenseHead, outputs: DenseOutputs, levels: int, shared: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The logits (B, N, J) and decoded box (B, N, 4) of every prior of the first levels, as for `best_of_cells`.

    The logits of a head with an objectness are those of class times objectness.
    """
    every = flatten(outputs.cls[:levels], head.num_classes).float()
    if head.objectness:
        every = joint_logits(every, flatten((outputs.quality or [])[:levels], 1).float())
    return shared(every), decode_all(head, outputs, levels)


def joint_logits(logits: Tensor, others: Tensor) -> Tensor:
    """The logit of the product of the probabilities that two tensors of logits (of one shape, or broadcast) mean."""
    both = functional.logsigmoid(logits) + functional.logsigmoid(others)
    return both - torch.log(-torch.expm1(both.clamp(max=-1e-6)))
