"""MGD: the teacher's pyramid is to be generated from a part of the student's (arXiv:2205.01529)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from headstart.detectors.detector import Detector
from headstart.methods.adapters import LevelAdapter
from headstart.methods.criteria.masked_generation import MaskedGeneration
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.inherit import Inherit, inherit
from headstart.methods.levels import Levels, pair_levels
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Steps
from headstart.teachers.base import Teacher

ONE_STAGE, TWO_STAGE = (2e-5, 0.65), (5e-7, 0.45)
"""The constant of the sum and the share of cells that are dropped, by where the student predicts."""


@dataclass(frozen=True)
class MGDOptions:
    """What `mgd` can be told.

    weights  "auto": the published constant for where the student predicts, shared out where several methods guide a
             student; "paper": the same, not shared out
    weight   replaces the constant (the paper's alpha), in the paper's units
    masked   the share of cells that are dropped; None: the published one
    levels   which levels are compared: see `pair_levels`
    inherit  what of the student starts from the (first) teacher's: "none", "neck", "head" or "both"
    warmup   steps over which the term grows from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    weight: Amount | None = None
    masked: Annotated[float, Field(ge=0, lt=1)] | None = None
    levels: Levels = "auto"
    inherit: Inherit = "none"
    warmup: Steps = 0


def mgd(student: Detector, teachers: Sequence[Teacher], options: MGDOptions) -> list[Guidance]:
    """Two convolutions for each level are to make the teacher's map of a part of the student's.

    A 1x1 convolution for each level lies before them where widths differ. Classes do not matter.

    Source: MGD (arXiv:2205.01529), repository yzd-v/MGD; see `MaskedGeneration`.
    """
    demand_teacher("mgd", teachers)
    found = inherit("mgd", student, teachers, options.inherit)
    constant, masked = TWO_STAGE if student.head.predicts_at == "regions" else ONE_STAGE
    for name, teacher in zip(names_by_teacher("mgd", teachers), teachers):
        match = pair_levels("mgd", student, teacher, options.levels)
        own, width = student.neck.width, teacher.model.neck.width
        share = masked if options.masked is None else options.masked
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(own, width, len(match.own)) if own != width else None,
                criterion=MaskedGeneration(width, match.strides, share),
                match=match,
                weight=Weight(
                    constant if options.weight is None else options.weight,
                    Schedule(options.warmup),
                    auto=options.weights == "auto" and options.weight is None,
                ),
            )
        )
    return found
