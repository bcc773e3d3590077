"""How far two dense heads' predictions are apart where they disagree: the losses of BCKD."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from headstart.boxes import aligned_giou
from headstart.classmap import ClassMap
from headstart.heads.cells import shapes
from headstart.heads.dense import DenseHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.cells import best_of_cells, every_prior
from headstart.methods.criteria.soft_labels import soft_focal
from headstart.methods.step import Step
from headstart.priors import index_cells, valid_flags
from headstart.structures import DenseOutputs

BinaryRegion = Literal["all", "positives"]


class BinaryPredictions:
    """The student's own predictions and the teacher's, as one binary question per prior and class.

    With p_s and p_t the sigmoids of both sides, d = |p_t - p_s|, and N the student's positives, at least one per image:

    cls  sum over priors and classes of d * BCE(p_s, p_t) / N
    box  sum over priors of (largest d of its classes, without gradient) * (1 - GIoU of the two boxes) / N

    of the classes that both know. Both are 0 for equal predictions.

    per_prior  compare prior by prior, for two heads of one layout; else cell by cell, of each side the likeliest anchor
               (`best_of_cells`)
    region     "all": every prior that the student's assigner does not ignore, as released. "positives": those that it
               gives an object

    Priors outside an image (padded to a multiple of 32) do not count.
    Source: BCKD (arXiv:2308.14286); the form, the region and the normaliser as in the released code
    (TinyTigerPan/BCKD, mmdet/models/dense_heads/ld_head.py at 851f5b4), which leaves out levels without a positive.
    """

    def __init__(
        self,
        student: DenseHead,
        teacher: DenseHead,
        classes: ClassMap,
        constants: dict[str, float],
        *,
        per_prior: bool,
        region: BinaryRegion = "all",
    ) -> None:
        self.student, self.teacher, self.classes, self.terms = student, teacher, classes, constants
        self.per_prior, self.region = per_prior, region

    def __call__(self, source: DenseOutputs, target: DenseOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `cls` and `box`; gradients reach `source` alone."""
        levels, read = len(target.cls), every_prior if self.per_prior else best_of_cells
        own, boxes = read(self.student, source, levels, self.classes.pick)
        with torch.no_grad():
            goal, goals = read(self.teacher, target, levels, self.classes.pull_logits)
            mask = self._mask(target, step)
            gap = (goal.sigmoid() - own.sigmoid()).abs().amax(dim=-1) * mask
        count = mean_over_ranks(step.assignment.positive.sum(dim=1).clamp(min=1).sum())
        cls = soft_focal(own.flatten(0, 1), goal.flatten(0, 1), mask.flatten())
        return {"cls": cls / count, "box": ((1 - aligned_giou(boxes, goals)) * gap).sum() / count}

    def _mask(self, target: DenseOutputs, step: Step) -> Tensor:
        """(B, N) float: 1 for the priors, or the cells, that count."""
        assignment, anchors = step.assignment, self.student.num_anchors
        cells = index_cells(shapes(target), 1, target.cls[0].device)
        inside = torch.stack([valid_flags(cells, self.teacher.strides, size) for size in step.batch.sizes])
        kept = assignment.positive if self.region == "positives" else assignment.weight > 0
        kept = kept[:, : len(cells) * anchors].unflatten(1, (-1, anchors)) & inside[..., None]
        return (kept.flatten(1) if self.per_prior else kept.any(dim=-1)).float()
