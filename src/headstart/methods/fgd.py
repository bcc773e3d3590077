"""FGD: focal and global imitation of the pyramid (arXiv:2111.11837)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.detector import Detector
from headstart.methods.adapters import LevelAdapter
from headstart.methods.assistants import kind_of
from headstart.methods.criteria.focal_global import FocalGlobal
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.inherit import Inherit, inherit
from headstart.methods.levels import Levels, pair_levels
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Positive, Steps
from headstart.teachers.base import Teacher

TERMS = ("foreground", "background", "attention", "context")

ONE_STAGE = (1e-3, 5e-4, 5e-4, 5e-6)
TWO_STAGE = (5e-5, 2.5e-5, 5e-5, 5e-7)
FCOS = (1.6e-3, 8e-4, 8e-4, 8e-6)
"""Alpha, beta, gamma and lambda of the paper, of sums, by the student's kind of head."""

TEMPERATURE = {"fcos": 0.8}
"""By the student's kind of head; 0.5 for others."""


@dataclass(frozen=True)
class FGDOptions:
    """What `fgd` can be told.

    weights      "auto": the published constants for the student's kind of head, shared out where several methods guide
                 a student; "paper": the same, not shared out
    foreground_weight, background_weight, attention_weight, context_weight   replace the constants (the paper's alpha,
                 beta, gamma and lambda), in the paper's units
    temperature  of the attention; None: the published one for the student's kind of head
    levels       which levels are compared: see `pair_levels`
    inherit      what of the student starts from the (first) teacher's: "none", "neck", "head" or "both"
    warmup       steps over which the terms grow from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    foreground_weight: Amount | None = None
    background_weight: Amount | None = None
    attention_weight: Amount | None = None
    context_weight: Amount | None = None
    temperature: Positive | None = None
    levels: Levels = "auto"
    inherit: Inherit = "none"
    warmup: Steps = 0


def fgd(student: Detector, teachers: Sequence[Teacher], options: FGDOptions) -> list[Guidance]:
    """The student's pyramid is to be the teacher's: most where the teacher is strong, objects and background apart.

    Also its attention, and its maps with a global context added. A 1x1 convolution for each level lies between where
    widths differ. Classes do not matter.

    Source: FGD (arXiv:2111.11837), repository yzd-v/FGD; see `FocalGlobal`.
    """
    demand_teacher("fgd", teachers)
    found = inherit("fgd", student, teachers, options.inherit)
    kind = kind_of(student.head)
    published = TWO_STAGE if student.head.predicts_at == "regions" else FCOS if kind == "fcos" else ONE_STAGE
    given = [getattr(options, f"{term}_weight") for term in TERMS]
    constants = {t: p if g is None else g for t, p, g in zip(TERMS, published, given, strict=True)}
    for name, teacher in zip(names_by_teacher("fgd", teachers), teachers):
        match = pair_levels("fgd", student, teacher, options.levels)
        own, width = student.neck.width, teacher.model.neck.width
        temperature = options.temperature or TEMPERATURE.get(kind, 0.5)
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(own, width, len(match.own)) if own != width else None,
                criterion=FocalGlobal(width, match.strides, constants, temperature=temperature),
                match=match,
                weight=Weight(
                    1.0,
                    Schedule(options.warmup),
                    auto=options.weights == "auto" and all(value is None for value in given),
                ),
            )
        )
    return found
