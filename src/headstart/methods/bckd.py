"""BCKD: class scores as binary questions, and boxes, where student and teacher disagree (arXiv:2308.14286)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.methods.criteria.binary import BinaryPredictions, BinaryRegion
from headstart.methods.cross_head import TeacherOutputs
from headstart.methods.crosskd import with_constants
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.mimic import StudentOutputs, dense_pair, same_layout
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Steps
from headstart.teachers.base import Teacher

CONSTANTS = {"cls": 1.0, "box": 4.0}
"""Of the released configurations."""


@dataclass(frozen=True)
class BCKDOptions:
    """What `bckd` can be told.

    region   "all": every place that the student's assigner does not ignore, as the released code; "positives": those
             alone that it gives an object
    weights  "paper": the released constants. "auto": the same, shared out where several methods guide a student
    cls_weight, box_weight   replace the constants of the class and the box term
    warmup   steps over which the terms grow from 0
    """

    region: BinaryRegion = "all"
    weights: Literal["auto", "paper"] = "auto"
    cls_weight: Amount | None = None
    box_weight: Amount | None = None
    warmup: Steps = 0


def bckd(student: Detector, teachers: Sequence[Teacher], options: BCKDOptions) -> list[Guidance]:
    """The student's predictions imitate the teacher's: each class a question of its own, weighted by the difference.

    Prior by prior between heads of one kind and layout; else cell by cell, of each side the likeliest anchor. Student
    and teacher must be dense and have the same strides on the levels that both have.
    """
    demand_teacher("bckd", teachers)
    demand_known_head("bckd", student, "use method head with ckd=False, pkd or cwd")
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("bckd", teachers), teachers):
        own, theirs, levels = dense_pair("bckd", student, teacher)
        criterion = BinaryPredictions(
            own,
            theirs,
            teacher.match(student.classes),
            with_constants(CONSTANTS, options.cls_weight, options.box_weight),
            per_prior=same_layout(own, theirs),
            region=options.region,
        )
        weight = Weight(1.0, Schedule(options.warmup), auto=options.weights == "auto")
        found.append(
            Imitation(name, StudentOutputs(), TeacherOutputs(teacher, levels), criterion=criterion, weight=weight)
        )
    return found
