"""How far two sets of edge distributions are apart: the losses of localisation distillation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from headstart.assign.atss import ATSS
from headstart.boxes import pairwise_diou, pairwise_iou
from headstart.classmap import ClassMap
from headstart.heads.cells import flatten, shapes
from headstart.heads.gfl import GFLHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.soft_labels import divergence
from headstart.methods.step import Step
from headstart.structures import DenseOutputs, Targets

NEAREST = 0.25
"""The valuable region begins at this part of the threshold from which an anchor is an object."""

SUMS = {"box": 1.0, "valuable": 0.25}
"""What the published divisors (4 for positives, 16 for the region) are to the mean over four edges."""

CLASS_TEMPERATURE = 2.0


class EdgeDistributions:
    """The student's own edge distributions and the teacher's, by what its assigner (ATSS) says of every anchor.

    With D = temperature^2 x the mean over the n + 1 bins of p_t (log p_t - log p_s), itself averaged over the four
    edges, of distributions softened by `temperature`:

    box       sum of s * D over the positives, s the student's largest class score there, without gradient
    valuable  sum of u * D / 4 over the valuable localisation region (`valuable_region`), u the largest IoU of an anchor
              with an object whose region it is in
    cls       temperature 2, the distributions over classes that softmax makes of both sides' logits: 4 x the mean over
              the shared classes of p_t (log p_t - log p_s), averaged over each level's positives, summed over levels

    `summed`: as published, where the sums of `box` and `valuable` grow with the number of objects and images. Else both
    are divided by the number of the student's positives, at least one per image. All are 0 for equal predictions.

    Source: LD (arXiv:2102.12252) and its released code (HikariTJU/LD, mmdet/models/dense_heads/ld_head.py at 258b2a1).
    Anchors that the student's assigner ignores have no part, which there, without ignored boxes, cannot happen.
    """

    def __init__(
        self, head: GFLHead, classes: ClassMap, constants: dict[str, float], temperature: float, *, summed: bool
    ) -> None:
        self.head, self.classes, self.terms = head, classes, constants
        self.temperature, self.summed = temperature, summed

    def __call__(self, source: DenseOutputs, target: DenseOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `box` and, if they have a constant, `valuable` and `cls`; gradients reach `source` alone."""
        head, assignment = self.head, step.assignment
        levels = len(target.reg)
        apart = self._apart(source.reg[:levels], target.reg)
        logits = flatten(source.cls[:levels], head.num_classes).float()
        positive = assignment.positive[:, : apart.shape[1]]
        count = 1.0 if self.summed else mean_over_ranks(assignment.positive.sum(dim=1).clamp(min=1).sum())
        sure = logits.detach().amax(dim=-1).sigmoid() * positive
        found = {"box": (apart * sure).sum() * SUMS["box"] / count}
        if "valuable" in self.terms:
            weight = self._valuable(source, step)[:, : apart.shape[1]] * assignment.weight[:, : apart.shape[1]]
            found["valuable"] = (apart * weight).sum() * SUMS["valuable"] / count
        if "cls" in self.terms:
            goal = flatten(target.cls, len(self.classes.teacher)).float()
            found["cls"] = self._classes(logits, goal, positive, target)
        return found

    def _apart(self, own: list[Tensor], goal: list[Tensor]) -> Tensor:
        """D of every anchor, (B, N)."""
        bins = self.head.reg_max + 1
        mine, theirs = (flatten(maps, self.head.code_size).float().unflatten(-1, (4, bins)) for maps in (own, goal))
        return divergence(mine, theirs, temperature=self.temperature).mean(dim=-1) / bins

    def _valuable(self, source: DenseOutputs, step: Step) -> Tensor:
        """(B, N): u of every anchor, 0 outside the region."""
        head, assigner = self.head, cast(ATSS, self.head.assigner)
        anchors, cells = head.all_anchors(source), head.cells(source)
        counts = [height * width * head.num_anchors for height, width in shapes(source)]
        return torch.stack(
            [
                valuable_region(assigner, anchors, counts, target, head.usable(anchors, cells, size))
                for target, size in zip(step.targets, step.batch.sizes)
            ]
        )

    def _classes(self, logits: Tensor, goal: Tensor, positive: Tensor, outputs: DenseOutputs) -> Tensor:
        own, theirs = self.classes.pick(logits), self.classes.pull_logits(goal)
        apart = divergence(own, theirs, temperature=CLASS_TEMPERATURE) / own.shape[-1] * positive
        counts = [height * width for height, width in shapes(outputs)]
        parts = zip(apart.split(counts, dim=1), positive.split(counts, dim=1))
        return torch.stack([a.sum() / mean_over_ranks(p.sum()).clamp(min=1) for a, p in parts]).sum()


@torch.no_grad()
def valuable_region(assigner: ATSS, anchors: Tensor, counts: list[int], targets: Targets, usable: Tensor) -> Tensor:
    """LD's valuable localisation region in one image: (N,) the IoU of the anchors in it, 0 outside.

    An anchor is in an object's region if their distance IoU is less than the threshold from which the assigner makes
    anchors this object's, and at least a quarter of it. In the regions of several, it has the largest IoU of them.

    anchors (N, 4), of which `counts` say how many each level has; those that are not `usable` (N,) are in none.
    """
    boxes = targets.wanted.boxes
    if not len(boxes):
        return anchors.new_zeros(len(anchors))
    limit = assigner.thresholds(anchors, counts, boxes, usable)[:, None]
    near = pairwise_diou(boxes, anchors)
    inside = (near < limit) & (near >= NEAREST * limit) & usable
    return torch.where(inside, pairwise_iou(boxes, anchors), 0.0).amax(dim=0)
