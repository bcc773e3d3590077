"""SGFI of G-DetKD: features of shared boxes, each from the student's levels that resemble the teacher's
(arXiv:2108.07482)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods.contrast import BoxContrast
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.soft_levels import SoftLevels, StudentCrops, TeacherCrops
from headstart.methods.step import Needs
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.options import Amount, Count, Steps
from headstart.teachers.base import Teacher

AUTO = 0.5
"""In units of the target's variance."""

PAPER = 1.0
"""Of both terms."""


@dataclass(frozen=True)
class SGFIOptions:
    """What `sgfi` can be told.

    contrast  also the contrastive term, between vectors of the two heads
    regions   boxes per image, a quarter of them objects
    weights   "paper": 1 for both terms. "auto": that of the features in units of the target's variance; shared out
              where several methods guide a student
    feature_weight, contrast_weight   replace the constants
    warmup    steps over which the terms grow from 0
    """

    contrast: bool = False
    regions: Count = 128
    weights: Literal["auto", "paper"] = "auto"
    feature_weight: Amount | None = None
    contrast_weight: Amount | None = None
    warmup: Steps = 0


def sgfi(student: Detector, teachers: Sequence[Teacher], options: SGFIOptions) -> list[Guidance]:
    """The student's features of a box, mixed from all its levels, imitate the teacher's from the level of its size.

    So no rule says which levels of two pyramids belong together. Any student and teacher: the boxes are those that the
    student proposes, a quarter of them objects. The contrastive term reads the last layers of both heads.
    """
    demand_teacher("sgfi", teachers)
    if options.contrast:
        demand_known_head("sgfi", student, "leave the contrastive term out with contrast=False")
    elif options.contrast_weight is not None:
        raise UserError("method sgfi: contrast_weight is the weight of a term that is off; set contrast=true")
    needs, auto = Needs(regions=options.regions), options.weights == "auto"
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("sgfi", teachers), teachers):
        width, given = teacher.model.neck.width, options.feature_weight
        constant = (AUTO if auto else PAPER) if given is None else given
        unit = TargetVariance() if auto else None
        found.append(
            Imitation(
                f"{name}/feature",
                StudentCrops(student, width, needs),
                TeacherCrops(teacher, needs),
                adapter=SoftLevels(width),
                weight=Weight(constant, Schedule(options.warmup), unit, auto=auto and given is None),
            )
        )
        if options.contrast:
            given = options.contrast_weight
            weight = Weight(PAPER if given is None else given, Schedule(options.warmup), auto=auto and given is None)
            found.append(BoxContrast(f"{name}/contrast", student, teacher, needs, weight))
    return found
