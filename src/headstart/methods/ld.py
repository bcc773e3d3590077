"""LD: localisation distillation, edge distributions that are to be the teacher's (arXiv:2102.12252)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.classmap import ClassMap
from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.gfl import GFLHead
from headstart.methods.criteria.edges import EdgeDistributions
from headstart.methods.cross_head import TeacherOutputs
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.mimic import StudentOutputs
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Positive, Steps
from headstart.teachers.base import Teacher

PAPER = {"box": 0.25, "valuable": 0.25, "cls": 10.0}
"""Of the released configurations; those of the first two are for sums over all positives."""

POSITIVES = 40
"""`auto` divides the sums by the positives; its constants are the published ones at this many per process."""


@dataclass(frozen=True)
class LDOptions:
    """What `ld` can be told.

    valuable     also in the valuable localisation region, beside the positives
    cls          class distillation on the positives too, at temperature 2, as the released configurations have it
    temperature  of the edges' distributions
    weights      "paper": the released constants and sums, which grow with the number of objects. "auto": sums divided
                 by the positives, which are as large at 40 positives; shared out where several methods guide a student
    box_weight, valuable_weight, cls_weight   replace the constants
    warmup       steps over which the terms grow from 0
    """

    valuable: bool = True
    cls: bool = False
    temperature: Positive = 10.0
    weights: Literal["auto", "paper"] = "auto"
    box_weight: Amount | None = None
    valuable_weight: Amount | None = None
    cls_weight: Amount | None = None
    warmup: Steps = 0


def ld(student: Detector, teachers: Sequence[Teacher], options: LDOptions) -> list[Guidance]:
    """The distributions by which the student places the edges of a box are to be the teacher's.

    At the student's positives and in the region around them that its assigner almost made positive. Student and teacher
    need such distributions, of equal bins and strides: GFL's. Edges are in strides from the cell, so between other
    strides a bin would mean something else.
    """
    demand_teacher("ld", teachers)
    demand_known_head("ld", student, "use method head with ckd=False, pkd or cwd")
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("ld", teachers), teachers):
        own, levels = _distributions(student, teacher)
        classes = teacher.match(student.classes)
        criterion = EdgeDistributions(
            own, classes, _constants(options, classes), options.temperature, summed=options.weights == "paper"
        )
        weight = Weight(1.0, Schedule(options.warmup), auto=options.weights == "auto")
        found.append(
            Imitation(name, StudentOutputs(), TeacherOutputs(teacher, levels), criterion=criterion, weight=weight)
        )
    return found


def _distributions(student: Detector, teacher: Teacher) -> tuple[GFLHead, int]:
    """The student's head, and how many levels both have. Raises UserError unless their bins mean the same."""
    own, theirs = student.head, teacher.model.head
    if not (isinstance(own, GFLHead) and isinstance(theirs, GFLHead)):
        raise UserError(
            "method ld needs a gfl student and a gfl teacher: only they predict each edge of a box as a distribution; "
            "for other pairs use method bckd or crosskd"
        )
    shared = list(zip(own.strides, theirs.strides))
    if own.reg_max != theirs.reg_max or any(mine != other for mine, other in shared):
        raise UserError(
            f"method ld needs gfl heads of equal bins and strides: the student has reg_max {own.reg_max} and strides "
            f"{own.strides}, the teacher {theirs.reg_max} and {theirs.strides}; use method bckd or crosskd"
        )
    return own, len(shared)


def _constants(options: LDOptions, classes: ClassMap) -> dict[str, float]:
    """The constants of the terms that are wanted. Raises UserError for a class term of a single class."""
    factor = 1.0 if options.weights == "paper" else float(POSITIVES)
    constants = {"box": PAPER["box"] * factor if options.box_weight is None else options.box_weight}
    if options.valuable:
        plain = PAPER["valuable"] * factor
        constants["valuable"] = plain if options.valuable_weight is None else options.valuable_weight
    if options.cls:
        if len(classes.known) < 2:
            raise UserError(
                "method ld: cls compares distributions over classes, and student and teacher have one in common; leave "
                "cls out"
            )
        constants["cls"] = PAPER["cls"] if options.cls_weight is None else options.cls_weight
    unread = [
        name
        for name, given in (("valuable", options.valuable_weight), ("cls", options.cls_weight))
        if given is not None and name not in constants
    ]
    if unread:
        raise UserError(f"method ld: {unread[0]}_weight is the weight of a term that is off; set {unread[0]}=true")
    return constants
