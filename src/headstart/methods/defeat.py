"""DeFeat: pyramids of objects and of the background apart, and the classes of regions (arXiv:2103.14475)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.adapters import LevelAdapter
from headstart.methods.criteria.region_classes import RegionClasses
from headstart.methods.criteria.weighted_mse import WeightedMSE
from headstart.methods.guidance import Guidance, Remark, Row, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.levels import Levels, pair_levels
from headstart.methods.masks import level_masks, valid_cells
from headstart.methods.scores import teacher_outputs
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Count, Steps
from headstart.structures import RegionOutputs, Regions
from headstart.teachers.base import Teacher

FOREGROUND, BACKGROUND, CLASSES = 3.0, 12.0, 2.0
"""The constants of half the errors of objects and of the background, and of each of the two class terms."""


@dataclass(frozen=True)
class DeFeatOptions:
    """What `defeat` can be told.

    weights     "auto": the published constants, shared out where several methods guide a student; "paper": the same,
                not shared out
    foreground_weight, background_weight, cls_weight   replace the constants
    regions     per image, at most a quarter of them objects; None: as many as the student samples for itself
    levels      which levels are compared: see `pair_levels`
    warmup      steps over which the terms grow from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    foreground_weight: Amount | None = None
    background_weight: Amount | None = None
    cls_weight: Amount | None = None
    regions: Count | None = None
    levels: Levels = "auto"
    warmup: Steps = 0


@dataclass(frozen=True)
class ObjectsAndBackground:
    """The objects of a level, and what lies around them (`level_masks`); `strides` of the maps that are compared."""

    strides: tuple[int, ...]

    def __call__(self, maps: Sequence[Tensor], step: Step) -> Mapping[str, Sequence[Tensor]]:
        valid = valid_cells(step.batch.sizes, maps, self.strides)
        return dict(zip(("foreground", "background"), level_masks(step.targets, valid, self.strides)))


@dataclass(frozen=True, eq=False)
class TeacherProposals:
    """Regions of a two-stage teacher: its proposals and the ground truth, sampled once in a step."""

    teacher: Teacher
    count: int

    def __call__(self, step: Step) -> list[Regions]:
        return step.once(("teacher proposals", id(self.teacher), self.count), lambda: self._sample(step))

    @torch.no_grad()
    def _sample(self, step: Step) -> list[Regions]:
        head = cast("RPNBasedHead", self.teacher.model.head)
        proposals = head.candidates(teacher_outputs(self.teacher, step), step.batch.sizes, training=True)
        sampler, known = RegionSampler(self.count), len(step.student.classes)
        return [sampler(p, t, known) for p, t in zip(proposals, step.targets, strict=True)]


@dataclass(frozen=True, eq=False)
class AtProposals:
    """What the student's (first) box head, or the teacher's, says at the teacher's proposals."""

    proposals: TeacherProposals
    student: bool
    needs = Needs()

    def __call__(self, step: Step) -> RegionOutputs:
        boxes = [r.boxes for r in self.proposals(step)]
        if self.student:
            return step.student.head.box_heads[0](step.features.pyramid, boxes)
        teacher = self.proposals.teacher
        with torch.no_grad():
            hidden = teacher.at(step.batch, boxes)
            return teacher.resume_regions(hidden[-1], start=len(hidden))

    def __str__(self) -> str:
        title = self.proposals.teacher.title
        return f"student classes at the {title}'s proposals" if self.student else f"{title} classes at its proposals"


def defeat(student: Detector, teachers: Sequence[Teacher], options: DeFeatOptions) -> list[Guidance]:
    """The student's pyramid is to be the teacher's, in objects and around them, each with a weight of its own.

    Half the squared error through a 3x3 convolution for each level, the mean over the level's objects and over its
    background, averaged over levels. Between two-stage detectors also the classes that both give to the teacher's
    proposals; else the pairing table says that they are left out.

    Source: DeFeat (arXiv:2103.14475), constants and layers of repository ggjy/DeFeat.pytorch.
    """
    demand_teacher("defeat", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("defeat", teachers), teachers):
        match = pair_levels("defeat", student, teacher, options.levels)
        unit = 0.5 / len(match.own)
        terms = {
            "foreground": unit * _given(options.foreground_weight, FOREGROUND),
            "background": unit * _given(options.background_weight, BACKGROUND),
        }
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(student.neck.width, teacher.model.neck.width, len(match.own), 3),
                criterion=WeightedMSE(terms, ObjectsAndBackground(match.strides)),
                match=match,
                weight=_weight(options, options.foreground_weight, options.background_weight),
            )
        )
        found.append(_regions(name, student, teacher, options))
    return found


def _regions(name: str, student: Detector, teacher: Teacher, options: DeFeatOptions) -> Guidance:
    """The class terms, or the remark that there are none."""
    if not (student.head.box_heads and teacher.model.head.box_heads):
        row = Row(f"{teacher.title} classes", "left out: not both read regions", "-", "-")
        return Remark(f"{name}/regions", row)
    proposals = TeacherProposals(teacher, options.regions or student.head.regions_per_image)
    constants = dict.fromkeys(("foreground", "background"), _given(options.cls_weight, CLASSES))
    return Imitation(
        f"{name}/regions",
        AtProposals(proposals, student=True),
        AtProposals(proposals, student=False),
        criterion=RegionClasses(teacher.match(student.classes), proposals, constants),
        weight=_weight(options, options.cls_weight),
    )


def _weight(options: DeFeatOptions, *given: float | None) -> Weight:
    auto = options.weights == "auto" and all(value is None for value in given)
    return Weight(1.0, Schedule(options.warmup), auto=auto)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
