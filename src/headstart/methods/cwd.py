"""CWD: each channel of the pyramid is to look at the same places as the teacher's (arXiv:2011.13256)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from headstart.detectors.detector import Detector
from headstart.methods.adapters import ConvAdapter
from headstart.methods.criteria.channel_divergence import ChannelDivergence
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.levels import pair_levels
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.teachers.base import Teacher

NORMALISED, PLAIN = 1.0, 5.0
"""The constants of RTMDet's recipe, which normalises, and of CWD's RetinaNet, which does not."""


@dataclass(frozen=True)
class CWDOptions:
    """What `cwd` can be told.

    normalise    standardise each channel over the batch before the softmax, as RTMDet's recipe does
    temperature  of the softmax over places
    weights      "auto": the published constant, shared out where several methods guide a student; "paper": the same,
                 not shared out
    weight       replaces the constant
    warmup       steps over which the term grows from 0
    stop         the last step at which it counts; None: to the end
    """

    normalise: bool = True
    temperature: Annotated[float, Field(gt=0)] = 1.0
    weights: Literal["auto", "paper"] = "auto"
    weight: Annotated[float, Field(ge=0)] | None = None
    warmup: Annotated[int, Field(ge=0)] = 0
    stop: Annotated[int, Field(ge=1)] | None = None


def cwd(student: Detector, teachers: Sequence[Teacher], options: CWDOptions) -> list[Guidance]:
    """Each channel of the student's pyramid is to look at the same places as the teacher's, level by level.

    The levels of those strides that both have are compared. A 1x1 convolution, shared by the levels, lies between where
    widths differ, and always when `normalise` is on. (RTMDet's recipe has one per level; one of a level of a single
    cell, which teaches nothing, would never get a gradient.) Classes do not matter.
    """
    demand_teacher("cwd", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("cwd", teachers), teachers):
        own, theirs = student.neck, teacher.model.neck
        constant = NORMALISED if options.normalise else PLAIN
        between = options.normalise or own.width != theirs.width
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                # The norm that follows takes a bias out again, so that it would never get a gradient.
                adapter=ConvAdapter(own.width, theirs.width, bias=not options.normalise) if between else None,
                criterion=ChannelDivergence(options.temperature, options.normalise),
                match=pair_levels("cwd", student, teacher, "stride"),
                weight=Weight(
                    options.weight if options.weight is not None else constant,
                    Schedule(options.warmup, options.stop),
                    auto=options.weights == "auto" and options.weight is None,
                ),
            )
        )
    return found
