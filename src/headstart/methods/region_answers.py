"""What a student and a teacher say about the same regions, whatever the kinds of their heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.boxes import decode_deltas
from headstart.classmap import ClassMap
from headstart.heads.cells import shapes
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import dense_outputs
from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import TwoStageOutputs
from headstart.methods.criteria.cells import best_of_cells, every_prior
from headstart.methods.pairing import trace_cells
from headstart.methods.step import Needs, Step
from headstart.structures import DenseOutputs, RegionOutputs, Regions
from headstart.teachers.base import Teacher

EPS = 1e-6
"""Probabilities are this far from 0 and 1 at least, so that they have a logit."""


@dataclass(frozen=True)
class StudentAnswers:
    """Of each shared region the logits (R, J) of the shared classes, a box (R, 4) and whether it has any, (R,).

    A dense head answers by the prior that the region came from, a two-stage one by its (first) box head.
    """

    classes: ClassMap
    needs: Needs

    def __call__(self, step: Step) -> list[Tensor]:
        head, regions = step.student.head, step.regions
        if isinstance(head, DenseHead):
            outputs = dense_outputs(step.outputs)
            said = every_prior(head, outputs, len(outputs.cls), self.classes.pick)
            image, row, traced, anchor = trace_cells(shapes(outputs), regions)
            return _fill(said, image, row * head.num_anchors + anchor, traced, regions)
        if not isinstance(step.outputs, TwoStageOutputs):
            raise TypeError(f"expected the outputs of a detector's head, found {type(step.outputs).__name__}")
        roi, rows = step.outputs.first.roi, step.region_rows
        if rows is not None:
            roi = RegionOutputs([], roi.cls[rows], roi.reg[rows])
        return _from_regions(head.box_heads[0], roi, regions, self.classes.pick)

    def __str__(self) -> str:
        return "student predictions at shared regions"


@dataclass(frozen=True, eq=False)
class TeacherAnswers:
    """The same of a teacher, without gradient: a dense one answers by the likeliest anchor of the region's cell.

    factors  how many cells of each of the student's levels make one of a dense teacher's (`stride_factors`)
    """

    teacher: Teacher
    classes: ClassMap
    factors: tuple[int, ...]

    @property
    def needs(self) -> Needs:
        return Needs()

    @torch.no_grad()
    def __call__(self, step: Step) -> list[Tensor]:
        head, regions = self.teacher.model.head, step.regions
        if isinstance(head, DenseHead):
            outputs: DenseOutputs = dense_outputs(self.teacher.outputs(step.batch))
            levels = len(self.factors)
            said = best_of_cells(head, outputs, levels, self.classes.pull_logits)
            image, row, traced, _ = trace_cells(shapes(outputs)[:levels], regions, self.factors)
            return _fill(said, image, row, traced, regions)
        hidden = self.teacher.at(step.batch, [r.boxes for r in regions])
        roi = self.teacher.resume_regions(hidden[-1], start=len(hidden))
        return _from_regions(head.box_heads[0], roi, regions, lambda x: self.classes.pull_scores(x, merge="sum"))

    def __str__(self) -> str:
        return f"{self.teacher.title} predictions at the same regions"


def _fill(
    said: tuple[Tensor, Tensor], image: Tensor, row: Tensor, traced: Tensor, regions: list[Regions]
) -> list[Tensor]:
    """What was said at rows of images, laid out by region; zeros for regions without a cell."""
    count = sum(len(r) for r in regions)
    full = [x.new_zeros(count, x.shape[-1]).index_copy(0, traced, x[image, row]) for x in said]
    known = full[0].new_zeros(count).index_fill(0, traced, 1.0)
    return [*full, known]


def _from_regions(
    head: BoxHead, roi: RegionOutputs, regions: list[Regions], shared: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """From a box head's outputs: each class against all others, and the box of the likeliest of all classes."""
    chances = roi.cls.float().softmax(dim=1)[:, : head.num_classes]
    boxes = torch.cat([r.boxes for r in regions])
    codes = head.codes_of(roi, chances.detach().argmax(dim=1))
    decoded = decode_deltas(boxes, codes, head.stds, shrink_limit=head.convention.shrink_limit)
    return [shared(chances).logit(EPS), decoded, torch.ones_like(chances[:, 0])]
