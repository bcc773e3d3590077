"""What both detectors say about the same boxes: crops of their pyramids, layers and predictions of their box heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from headstart.assign.sample import RegionSampler
from headstart.cached_tensor import cached_tensor
from headstart.classmap import LEFT_OUT, ClassMap
from headstart.detectors.detector import Detector
from headstart.heads.protocol import HeadOutputs
from headstart.heads.two_stage import TwoStageOutputs
from headstart.methods.allstage.micro import row_weights
from headstart.methods.crops import crop, object_level
from headstart.methods.levels import LevelPairs
from headstart.methods.region_answers import TeacherAnswers
from headstart.methods.scores import scoring_head, teacher_outputs, teacher_scores
from headstart.methods.step import Needs, Step
from headstart.structures import Detections, RegionOutputs, Regions
from headstart.teachers.base import Teacher

Boxes = Literal["teacher", "student", "independent"]

GRID = 7
"""Cells of a crop per side."""


@dataclass(frozen=True)
class BoxSets:
    """The regions that each side is read at, row by row, image by image.

    rows  which of the step's own regions those of the student are, (R,) int64; None: all, or none of them
    """

    own: list[Regions]
    theirs: list[Regions]
    rows: Tensor | None = None


class RegionTaps:
    """Where both detectors are read, and what of them.

    source  "teacher": both at regions sampled from the teacher's proposals and the ground truth; "student": at those
            from the student's; "independent": each at its own, the i-th of an image with the i-th, which is what a
            comparison without correspondence would be
    count   regions per image
    levels  which levels of the pyramids belong together
    classes which class of the student each of the teacher's is

    Everything is made once in a step.
    """

    def __init__(
        self, source: Boxes, count: int, student: Detector, teacher: Teacher, levels: LevelPairs, classes: ClassMap
    ) -> None:
        self.source, self.count, self.student, self.teacher = source, count, student, teacher
        self.levels, self.classes = levels, classes

    @property
    def needs(self) -> Needs:
        return Needs() if self.source == "teacher" else Needs(regions=self.count)

    @property
    def both_read_regions(self) -> bool:
        """Whether both are two-stage detectors."""
        return self.student.head.predicts_at == self.teacher.model.head.predicts_at == "regions"

    def sets(self, step: Step) -> BoxSets:
        """The regions."""
        return step.once((self, "sets"), lambda: self._sets(step))

    def counts(self, step: Step) -> list[int]:
        """How many regions each image has."""
        return [len(regions) for regions in self.sets(step).own]

    def crops(self, step: Step, *, own: bool) -> Tensor:
        """The student's or the teacher's pyramid at its boxes: (R, C, 7, 7), of the level for objects of their size."""
        return step.once((self, "crops", own), lambda: self._crops(step, own))

    def outputs(self, step: Step, *, own: bool) -> RegionOutputs:
        """What the first box head of the student, or of the teacher, says at its boxes."""
        return step.once((self, "outputs", own), lambda: self._own(step) if own else self._theirs(step))

    def weights(self, step: Step, worse: float) -> Tensor:
        """(R,) of mean 1: `row_weights` of the teacher's scores and, of two box heads, of their boxes."""
        return step.once((self, "weights", worse), lambda: self._weights(step, worse))

    def kept(self, device: torch.device) -> Tensor:
        """The teacher's classes that the student's data has: (J,) int64."""
        return cached_tensor([row for row, n in enumerate(self.classes.goal) if n != LEFT_OUT], torch.int64, device)

    @torch.no_grad()
    def _sets(self, step: Step) -> BoxSets:
        if self.source == "student":
            return BoxSets(step.regions, step.regions, step.region_rows)
        proposals = teacher_proposals(self.teacher, step)
        sampler, classes = RegionSampler(self.count), len(self.student.classes)
        theirs = [sampler(p, t, classes) for p, t in zip(proposals, step.targets, strict=True)]
        if self.source == "teacher":
            return BoxSets(theirs, theirs)
        fewest = [min(len(a), len(b)) for a, b in zip(step.regions, theirs)]
        own = [regions[:n] for regions, n in zip(step.regions, fewest)]
        theirs = [regions[:n] for regions, n in zip(theirs, fewest)]
        # Which of all regions of the step the first ones of each image are.
        starts = torch.tensor([0, *(len(r) for r in step.regions)]).cumsum(0).tolist()
        rows = torch.cat([torch.arange(s, s + n, device=r.boxes.device) for s, n, r in zip(starts, fewest, own)])
        return BoxSets(own, theirs, rows if step.region_rows is None else step.region_rows[rows])

    def _crops(self, step: Step, own: bool) -> Tensor:
        boxes = [r.boxes for r in (self.sets(step).own if own else self.sets(step).theirs)]
        pairs = self.levels
        numbers, strides = (pairs.own, pairs.own_strides) if own else (pairs.other, pairs.other_strides)
        every = step.features.pyramid if own else self.teacher.taps(step.batch, ["neck"])["neck"]
        finest = min(pairs.own_strides[0], pairs.other_strides[0])
        level = object_level(torch.cat(boxes), finest, len(numbers))
        return crop([every[number] for number in numbers], strides, boxes, level, GRID)

    def _own(self, step: Step) -> RegionOutputs:
        sets = self.sets(step)
        if self.source == "teacher":
            return self.student.head.box_heads[0](step.features.pyramid, [r.boxes for r in sets.own])
        found = first_outputs(step.outputs)
        if sets.rows is None:
            return found
        return RegionOutputs([x[sets.rows] for x in found.hidden], found.cls[sets.rows], found.reg[sets.rows])

    @torch.no_grad()
    def _theirs(self, step: Step) -> RegionOutputs:
        hidden = self.teacher.at(step.batch, [r.boxes for r in self.sets(step).theirs])
        found = self.teacher.resume_regions(hidden[-1], start=len(hidden))
        return RegionOutputs(hidden, found.cls, found.reg)

    @torch.no_grad()
    def _weights(self, step: Step, worse: float) -> Tensor:
        sets = self.sets(step)
        labels, matched = (torch.cat([getattr(r, key) for r in sets.theirs]) for key in ("labels", "matched"))
        objects = labels < len(self.student.classes)
        if self.teacher.model.head.predicts_at == "cells":
            return row_weights(self._pooled_scores(step, sets), None, matched, objects, worse)
        said = self.outputs(step, own=False)
        scores = said.cls.float().softmax(dim=1)[:, self.kept(said.cls.device)].amax(dim=1)
        if not self.both_read_regions:
            return row_weights(scores, None, matched, objects, worse)
        boxes = self._refined(step, sets.own, own=True), self._refined(step, sets.theirs, own=False)
        return row_weights(scores, boxes, matched, objects, worse)

    def _pooled_scores(self, step: Step, sets: BoxSets) -> Tensor:
        """The largest score of a dense teacher in each region, (R,)."""
        head, boxes = scoring_head(self.teacher.model.head), [r.boxes for r in sets.theirs]
        strides = list(head.strides) if head is not None else []
        level = object_level(torch.cat(boxes), strides[0], len(strides))
        return crop(teacher_scores(self.teacher, step), strides, boxes, level, GRID).amax(dim=(1, 2, 3))

    def _refined(self, step: Step, regions: Sequence[Regions], *, own: bool) -> Tensor:
        """The boxes (R, 4) that a box head makes of its regions."""
        head = (self.student if own else self.teacher.model).head.box_heads[0]
        return torch.cat(head.refine(self.outputs(step, own=own), [r.boxes for r in regions], step.batch.sizes))


@dataclass(frozen=True, eq=False)
class RegionTap:
    """A layer of one side at its boxes: "crops" of the pyramid, or a layer of its first box head, activated.

    index  of the layer, from the first
    """

    regions: RegionTaps
    own: bool
    index: int | None = None

    @property
    def needs(self) -> Needs:
        return self.regions.needs

    def __call__(self, step: Step) -> list[Tensor]:
        if self.index is None:
            return [self.regions.crops(step, own=self.own)]
        return [functional.relu(self.regions.outputs(step, own=self.own).hidden[self.index])]

    def __str__(self) -> str:
        who = "student" if self.own else self.regions.teacher.title
        return f"{who} {'crops' if self.index is None else f'fc{self.index}'}{_where(self.regions, self.own)}"


@dataclass(frozen=True, eq=False)
class RegionPredictionsTap:
    """The predictions of one side's first box head at its boxes."""

    regions: RegionTaps
    own: bool

    @property
    def needs(self) -> Needs:
        return self.regions.needs

    def __call__(self, step: Step) -> RegionOutputs:
        return self.regions.outputs(step, own=self.own)

    def __str__(self) -> str:
        who = "student" if self.own else self.regions.teacher.title
        return f"{who} box head's predictions{_where(self.regions, self.own)}"


@dataclass(frozen=True, eq=False)
class Misplaced:
    """A teacher's answers, each about another region of its image: a comparison without correspondence."""

    answers: TeacherAnswers

    @property
    def needs(self) -> Needs:
        return self.answers.needs

    def __call__(self, step: Step) -> list[Tensor]:
        counts = [len(regions) for regions in step.regions]
        return [torch.cat([x.roll(len(x) // 2, 0) for x in rows.split(counts)]) for rows in self.answers(step)]

    def __str__(self) -> str:
        return f"{self.answers}, another region's"


def _where(regions: RegionTaps, own: bool) -> str:
    whose = "the student's own" if own else "its own"
    words: dict[Boxes, str] = {"teacher": "the teacher's", "student": "the student's", "independent": whose}
    return f" at {words[regions.source]} regions"


@torch.no_grad()
def teacher_proposals(teacher: Teacher, step: Step) -> list[Detections]:
    """A teacher's proposals after NMS, per image, made once in a step."""
    head = scoring_head(teacher.model.head)
    if head is None:
        raise TypeError(f"a {type(teacher.model.head).__name__} has no proposals")
    return step.once(
        ("teacher proposals", id(teacher)), lambda: head.proposals(teacher_outputs(teacher, step), step.batch.sizes)
    )


def first_outputs(outputs: HeadOutputs) -> RegionOutputs:
    """What the first box head said. Raises TypeError for the outputs of a dense head."""
    if not isinstance(outputs, TwoStageOutputs):
        raise TypeError(f"expected the outputs of a two-stage head, found {type(outputs).__name__}")
    return outputs.first.roi
