"""Plain prediction mimicking: the student's own predictions imitate the teacher's, which CrossKD has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import dense_outputs
from headstart.methods.assistants import kind_of
from headstart.methods.criteria.answers import RegionAnswers
from headstart.methods.criteria.cells import CellPredictions
from headstart.methods.criteria.predictions import DensePredictions
from headstart.methods.cross_head import TeacherOutputs
from headstart.methods.crosskd import OTHER, RECIPES, REGIONS, with_constants
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.pairing import stride_factors
from headstart.methods.region_answers import StudentAnswers, TeacherAnswers
from headstart.methods.step import Needs, Step
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Steps
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher


@dataclass(frozen=True)
class MimicOptions:
    """What `mimic` can be told.

    weights  "paper": CrossKD's constants for the teacher's kind of head. "auto": the same, shared out where several
             methods guide a student
    cls_weight, box_weight   replace the constants of the class and the box term
    warmup   steps over which the terms grow from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    cls_weight: Amount | None = None
    box_weight: Amount | None = None
    warmup: Steps = 0


@dataclass(frozen=True)
class StudentOutputs:
    """A dense student's own predictions."""

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, step: Step) -> DenseOutputs:
        return dense_outputs(step.outputs)

    def __str__(self) -> str:
        return "student predictions"


def mimic(student: Detector, teachers: Sequence[Teacher], options: MimicOptions) -> list[Guidance]:
    """The student's own predictions imitate the teacher's, the conventional way: what CrossKD is measured against.

    Between dense heads of one kind and one layout by that kind's losses, as CrossKD's; between others cell by cell, and
    with a two-stage student or teacher region by region.
    """
    demand_teacher("mimic", teachers)
    demand_known_head("mimic", student, "use method head with ckd=False, pkd or cwd")
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("mimic", teachers), teachers):
        dense = {student.head.predicts_at, teacher.model.head.predicts_at} == {"cells"}
        found.append((_cells if dense else _regions)(name, student, teacher, options))
    return found


def _cells(name: str, student: Detector, teacher: Teacher, options: MimicOptions) -> Imitation:
    """Both dense."""
    own, theirs, levels = dense_pair("mimic", student, teacher)
    recipe = RECIPES.get(kind_of(theirs), OTHER)
    classes = teacher.match(student.classes)
    criterion: DensePredictions | CellPredictions
    if same_layout(own, theirs) and classes.identical:
        constants = with_constants(recipe.constants, options.cls_weight, options.box_weight)
        criterion = DensePredictions(theirs, own, classes, constants, recipe.box, confidence=recipe.confidence)
    else:
        criterion = CellPredictions(own, theirs, classes, _constants(options))
    target = TeacherOutputs(teacher, levels)
    return Imitation(name, StudentOutputs(), target, criterion=criterion, weight=_weight(options))


def _regions(name: str, student: Detector, teacher: Teacher, options: MimicOptions) -> Imitation:
    """One of the two is two-stage: at the regions that the student proposes."""
    head = teacher.model.head
    classes = teacher.match(student.classes)
    factors = stride_factors(student.head.strides, head.strides) if head.predicts_at == "cells" else []
    return Imitation(
        name,
        StudentAnswers(classes, Needs(regions=student.head.regions_per_image or REGIONS)),
        TeacherAnswers(teacher, classes, tuple(factors)),
        criterion=RegionAnswers(_constants(options)),
        weight=_weight(options),
    )


def _constants(options: MimicOptions) -> dict[str, float]:
    return with_constants(OTHER.constants, options.cls_weight, options.box_weight)


def _weight(options: MimicOptions) -> Weight:
    return Weight(1.0, Schedule(options.warmup), auto=options.weights == "auto")


def dense_pair(method: str, student: Detector, teacher: Teacher) -> tuple[DenseHead, DenseHead, int]:
    """Both heads, and how many levels both have, for a `method` that compares predictions cell by cell.

    Raises UserError if one of the two is not dense, or if their strides differ on these levels.
    """
    own, theirs = student.head, teacher.model.head
    if not (isinstance(own, DenseHead) and isinstance(theirs, DenseHead)):
        raise UserError(
            f"method {method} needs a dense student and a dense teacher, such as retinanet or gfl, whose cells "
            "correspond; for others use method head or crosskd"
        )
    factors = stride_factors(own.strides, theirs.strides)
    if set(factors) != {1}:
        raise UserError(
            f"method {method} compares cells of one size: the student's strides are {own.strides}, the teacher's "
            f"{theirs.strides}; use method crosskd"
        )
    return own, theirs, len(factors)


def same_layout(own: DenseHead, theirs: DenseHead) -> bool:
    """Whether two heads predict the same numbers about the same priors."""
    return type(own) is type(theirs) and (own.num_anchors, own.code_size) == (theirs.num_anchors, theirs.code_size)
