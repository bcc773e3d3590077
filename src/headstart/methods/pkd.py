"""PKD: pyramids that are to be correlated with the teacher's (arXiv:2207.02039)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.detector import Detector
from headstart.methods.adapters import ConvAdapter
from headstart.methods.assistants import kind_of
from headstart.methods.criteria.pearson import Pearson
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.levels import Levels, Resize, pair_levels
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Steps
from headstart.teachers.base import Teacher

AUTO = 6.0
"""The constant of the sum over levels, whatever the detector: the term has the same size for all of them."""

PAPER = {"gfl": 6.0, "retinanet": 2.0, "fcos": 2.0, "atss": 1.0, "rcnn": 6.0}
"""Those of CrossKD + PKD by the teacher's kind; `AUTO` for others."""


@dataclass(frozen=True)
class PKDOptions:
    """What `pkd` can be told.

    weights  "paper": the constant published with CrossKD for the teacher's kind of head. "auto": 6 for every pair,
             shared out where several methods guide a student
    weight   replaces the constant
    levels   which levels are compared: see `pair_levels`
    resize   maps of different strides: "coarser" averages the finer one, "teacher" interpolates the student's to the
             teacher's size, as PKD's own code does
    warmup   steps over which the term grows from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    weight: Amount | None = None
    levels: Levels = "auto"
    resize: Resize = "coarser"
    warmup: Steps = 0


def pkd(student: Detector, teachers: Sequence[Teacher], options: PKDOptions) -> list[Guidance]:
    """The student's pyramid is to be correlated with the teacher's, level by level: sizes and offsets do not count.

    The levels of those strides that both have are compared; of a two-stage teacher and a student that predicts at cells
    those for objects of one size (mmrazor's recipe for such pairs). Where widths differ, a 1x1 convolution, shared by
    the levels, lies between; the paper has none. Classes do not matter.
    """
    demand_teacher("pkd", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("pkd", teachers), teachers):
        own, theirs = student.neck, teacher.model.neck
        constant = AUTO if options.weights == "auto" else PAPER.get(kind_of(teacher.model.head), AUTO)
        given = options.weight is not None
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=ConvAdapter(own.width, theirs.width) if own.width != theirs.width else None,
                criterion=Pearson(),
                match=pair_levels("pkd", student, teacher, options.levels, resize=options.resize),
                weight=Weight(
                    options.weight if options.weight is not None else constant,
                    Schedule(options.warmup),
                    auto=options.weights == "auto" and not given,
                ),
            )
        )
    return found
