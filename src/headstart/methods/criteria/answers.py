"""How far what two detectors say about the same regions is apart, whatever the kinds of their heads."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.boxes import aligned_giou
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.soft_labels import soft_focal
from headstart.methods.step import Step


class RegionAnswers:
    """Two sides' answers (`region_answers`) about the shared regions, of the regions about which both have one.

    cls  quality focal loss with the teacher's probabilities as soft labels (beta 1), divided by the number of regions
         that are objects, at least one per image
    box  1 - GIoU, weighted by the teacher's largest probability w, divided by the sum of w

    As `CellPredictions` for cells; ours too, since no paper compares heads of different kinds so.
    """

    def __init__(self, constants: dict[str, float]) -> None:
        self.terms = constants

    def __call__(self, source: list[Tensor], target: list[Tensor], step: Step) -> dict[str, Tensor]:
        """Both are logits (R, J), boxes (R, 4) and known (R,). Scalars `cls` and `box`; gradients reach `source`."""
        own, boxes, mine = source
        goal, goals, theirs = (x.detach() for x in target)
        both = mine * theirs
        classes = step.student.head.num_classes
        objects = torch.stack([(r.labels < classes).sum().clamp(min=1) for r in step.regions]).sum()
        sure = goal.sigmoid().amax(dim=-1) * both
        apart = (1 - aligned_giou(boxes, goals)) * sure
        total = mean_over_ranks(sure.sum()).clamp(min=1e-6)
        return {"cls": soft_focal(own, goal, both) / mean_over_ranks(objects), "box": apart.sum() / total}
