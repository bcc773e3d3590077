"""GID: instances that student and teacher disagree about, their features, relations and answers (arXiv:2103.02340)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.boxes import aligned_giou
from headstart.classmap import ClassMap
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import flatten
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import as_dense, dense_outputs
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.adapters import start_as_identity
from headstart.methods.criteria.cells import every_prior
from headstart.methods.criteria.mse import mse
from headstart.methods.criteria.relation import relation
from headstart.methods.crops import crop, object_level
from headstart.methods.guidance import Guidance, Row, demand_teacher, names_by_teacher
from headstart.methods.imitation import dead_target
from headstart.methods.instances import disagreeing_priors, disagreeing_proposals
from headstart.methods.mimic import same_layout
from headstart.methods.step import Step
from headstart.methods.taps import TeacherTap
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.options import Amount, Count, Steps
from headstart.structures import Targets
from headstart.teachers.base import Teacher

GRID = 10
"""Cells of a crop per side."""

PAPER = {"feature": 5e-4, "relation": 40.0, "cls": 0.1, "box": 1.0}
"""Of the rewritten code's RetinaNet; the first is for the squared error summed over channels."""

AUTO = {**PAPER, "feature": 0.5}
"""The first in units of the target's variance."""

RESPONSES = ("cls", "box")


@dataclass(frozen=True)
class GIDOptions:
    """What `gid` can be told.

    instances  per image at most
    weights    "paper": the constants of the rewritten code. "auto": that of the features in units of the target's
               variance; shared out where several methods guide a student
    feature_weight, relation_weight, cls_weight, box_weight   replace the constants
    warmup     steps over which the terms grow from 0
    """

    instances: Count = 10
    weights: Literal["auto", "paper"] = "auto"
    feature_weight: Amount | None = None
    relation_weight: Amount | None = None
    cls_weight: Amount | None = None
    box_weight: Amount | None = None
    warmup: Steps = 0


def gid(student: Detector, teachers: Sequence[Teacher], options: GIDOptions) -> list[Guidance]:
    """At the boxes where both disagree most: the teacher's features, their distances among each other, its predictions.

    Between heads of one kind, layout and strides. Between others priors do not correspond: the instances are then
    chosen from the proposals of both (ours), and predictions are not compared.
    """
    demand_teacher("gid", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("gid", teachers), teachers):
        terms = [*PAPER] if aligned(student, teacher) else [term for term in PAPER if term not in RESPONSES]
        weights = {term: _weight(term, options, teacher.model.neck.width) for term in terms}
        classes = teacher.match(student.classes) if "cls" in terms else None
        found.append(InstanceGuidance(name, student, teacher, weights, options.instances, classes))
    unread = [term for term in RESPONSES if getattr(options, f"{term}_weight") is not None]
    if unread and not any(aligned(student, teacher) for teacher in teachers):
        raise UserError(
            f"method gid: {unread[0]}_weight is for predictions, which are compared between dense heads of one kind, "
            "layout and strides only; leave it out, or use method crosskd"
        )
    return found


def aligned(student: Detector, teacher: Teacher) -> bool:
    """Whether the priors of both heads are the same."""
    own, theirs = student.head, teacher.model.head
    dense = isinstance(own, DenseHead) and isinstance(theirs, DenseHead)
    return dense and same_layout(own, theirs) and list(own.strides) == list(theirs.strides)


def _weight(term: str, options: GIDOptions, width: int) -> Weight:
    given = getattr(options, f"{term}_weight")
    schedule, auto = Schedule(options.warmup), options.weights == "auto"
    unit = TargetVariance() if auto and term == "feature" else None
    constant = (AUTO if auto else PAPER)[term] if given is None else given
    # The published one is for a sum over channels, and `mse` is a mean.
    factor = width if term == "feature" and unit is None else 1
    return Weight(constant * factor, schedule, unit, auto=auto and given is None)


class InstanceGuidance(Guidance):
    """GID's terms, those that `weights` has; `cls` and `box` need the heads' common `classes`.

    With crops of 10 x 10 cells at the instances, each from the level of its size, of the student's pyramid through one
    3x3 convolution, shared by the levels, and of the teacher's:

    feature   the mean squared error of the crops
    relation  `criteria.relation` of the crops as vectors, among the instances of the whole batch of this process
    cls       binary cross-entropy with the teacher's probabilities, less their own entropy, which changes no gradient
              and makes the term 0 where both agree; summed over the shared classes, mean over the priors that the
              student's assigner gives an instance as it would an object
    box       at the same priors the L1 distance of the codes of anchors, summed over the four; of other codes
              1 - GIoU of the boxes

    Levels correspond by their place from the finest. Where widths are equal the convolution begins as the identity.
    """

    def __init__(
        self,
        name: str,
        student: Detector,
        teacher: Teacher,
        weights: Mapping[str, Weight],
        count: int,
        classes: ClassMap | None,
    ) -> None:
        super().__init__()
        own, theirs = student.neck, teacher.model.neck
        self.name, self.teacher, self.count, self.classes = name, teacher, count, classes
        self.strides, self.teacher_strides = list(own.strides), list(theirs.strides)
        self.adapter = nn.Conv2d(own.width, theirs.width, 3, padding=1)
        start_as_identity(self.adapter)
        self.weights = nn.ModuleDict(weights)
        self.tap = TeacherTap(teacher, "neck")

    def forward(self, step: Step) -> dict[str, Tensor]:
        instances = self.instances(step)
        own, goal = self._crops(step, [t.boxes for t in instances])
        found = {"feature": mse(own, goal), "relation": relation(own, goal)}
        if self.classes is not None:
            found |= self._responses(step, instances, self.classes)
        return {
            f"{self.name}/{term}": weight(found[term], [goal], [own], step.progress) for term, weight in self._weights()
        }

    def instances(self, step: Step) -> list[Targets]:
        """The boxes of each image, without gradient."""
        sizes, head, other = step.batch.sizes, step.student.head, self.teacher.model.head
        said = self.teacher.outputs(step.batch)
        if self.classes is not None:
            heads, outputs = (as_dense(head), as_dense(other)), (dense_outputs(step.outputs), dense_outputs(said))
            return disagreeing_priors(heads, outputs, self.classes, sizes, self.count)
        with torch.no_grad():
            proposed = head.proposals(step.outputs, sizes), other.proposals(said, sizes)
        return disagreeing_proposals(*proposed, sizes, self.count)

    def _crops(self, step: Step, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Rows (R, C * 100) of the adapted student and of the teacher."""
        maps = [self.adapter(x) for x in step.features.pyramid]
        goals = self.tap(step)
        level = object_level(torch.cat(boxes), self.teacher_strides[0], min(len(maps), len(goals)))
        own = crop(maps, self.strides, boxes, level, GRID)
        with torch.no_grad():
            goal = crop(goals, self.teacher_strides, boxes, level, GRID)
        return own.flatten(1), goal.flatten(1)

    def _responses(self, step: Step, instances: list[Targets], classes: ClassMap) -> dict[str, Tensor]:
        own, theirs = as_dense(step.student.head), as_dense(self.teacher.model.head)
        said, goal = dense_outputs(step.outputs), dense_outputs(self.teacher.outputs(step.batch))
        levels = len(said.cls)
        rows = own.assign(said, instances).positive
        count = mean_over_ranks(rows.sum()).clamp(min=1)
        logits, boxes = every_prior(own, said, levels, classes.pick)
        with torch.no_grad():
            goals, goal_boxes = every_prior(theirs, goal, levels, classes.pull_logits)
            chances, goals = goals[rows].sigmoid(), goals[rows]
        cross = functional.binary_cross_entropy_with_logits
        cls = cross(logits[rows], chances, reduction="sum") - cross(goals, chances, reduction="sum")
        if isinstance(own, AnchorHead) and own.code_size == 4:
            codes, goal_codes = (flatten(x.reg, 4)[rows].float() for x in (said, goal))
            box = (codes - goal_codes.detach()).abs().sum()
        else:
            box = (1 - aligned_giou(boxes[rows], goal_boxes[rows])).sum()
        return {"cls": cls / count, "box": box / count}

    def describe(self) -> list[Row]:
        conv = self.adapter
        through = f"3x3 {conv.in_channels} -> {conv.out_channels}"
        rows = []
        for term, weight in self._weights():
            place = "predictions" if term in RESPONSES else "neck"
            imitated = f"{self.teacher.title} {place} at disputed boxes, {term}"
            rows.append(Row(imitated, f"student {place}", "-" if term in RESPONSES else through, weight.text()))
        return rows

    def problems(self, step: Step) -> list[str]:
        return dead_target(self.tap, self.tap(step))

    def share(self, part: float) -> None:
        for _, weight in self._weights():
            weight.share(part)

    def _weights(self) -> list[tuple[str, Weight]]:
        return [(term, cast(Weight, weight)) for term, weight in self.weights.items()]
