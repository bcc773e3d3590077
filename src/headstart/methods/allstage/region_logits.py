"""How far two box heads' own predictions for corresponding regions are apart, whatever their classes and box codes."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.boxes import aligned_giou
from headstart.cached_tensor import cached_tensor
from headstart.heads.roi import BoxHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.allstage.regions import RegionTaps
from headstart.methods.criteria.region_classes import student_chances, teacher_chances
from headstart.methods.criteria.soft_labels import divergence
from headstart.methods.step import Step
from headstart.structures import RegionOutputs

LEAST = 1e-6


class RegionLogits:
    """Two box heads' predictions, row by row.

    cls  the divergence of the class distributions (softmax at temperature 1), mean over the regions. Of both sides the
         classes that both know are compared, merged ones as one, and all that is left is background
    box  1 - GIoU of the boxes of the teacher's likeliest class, weighted by its probability: their weighted mean

    Scalars; gradients reach the student's outputs alone.
    """

    def __init__(self, student: BoxHead, teacher: BoxHead, regions: RegionTaps) -> None:
        self.student, self.teacher, self.regions = student, teacher, regions
        self.terms = {"cls": 1.0, "box": 1.0}

    def __call__(self, source: RegionOutputs, target: RegionOutputs, step: Step) -> dict[str, Tensor]:
        """source: the student's outputs, target: the teacher's, of R regions each."""
        classes = self.regions.classes
        with torch.autocast(source.cls.device.type, enabled=False):
            log_q = student_chances(classes, source.cls.float()[:, : self.student.num_classes + 1])
            every = target.cls.detach().float()[:, : self.teacher.num_classes + 1]
            log_p = teacher_chances(classes, every)
            count = mean_over_ranks(log_q.new_full((), float(max(len(log_q), 1))))
            sure, best = every.softmax(dim=1)[:, self.regions.kept(every.device)].max(dim=1)
            found, goals = self._boxes(source, target, best, step)
            total = mean_over_ranks(sure.sum()).clamp(min=LEAST)
            box = ((1 - aligned_giou(found, goals)) * sure).sum() / total
            return {"cls": divergence(log_q, log_p).sum() / count, "box": box}

    def _boxes(self, source: RegionOutputs, target: RegionOutputs, best: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The boxes (R, 4) that both make of their regions, for the teacher's likeliest classes."""
        sets = self.regions.sets(step)
        theirs = self.regions.kept(best.device)[best]
        mine = cached_tensor(self.regions.classes.goal, torch.int64, best.device)[theirs]
        own, goal = (torch.cat([r.boxes for r in side]).float() for side in (sets.own, sets.theirs))
        return (
            self.student.boxes_of(source, own, mine),
            self.teacher.boxes_of(target, goal, theirs).detach(),
        )
