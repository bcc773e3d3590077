"""FitNets' hint: the pyramid is to be the teacher's (arXiv:1412.6550)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.methods.adapters import LevelAdapter
from headstart.methods.criteria.weighted_mse import WeightedMSE
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.inherit import Inherit, inherit
from headstart.methods.levels import Levels, pair_levels
from headstart.methods.masks import valid_cells
from headstart.methods.step import Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.options import Amount, Steps
from headstart.teachers.base import Teacher

PAPER = 1.0
"""The constant of the plain error, summed over levels, of the FitNet baseline in HEAD's repository."""

AUTO = 5.0
"""In units of the target's variance, of the mean over levels: as much as the published sum over five levels."""


@dataclass(frozen=True)
class FitNetOptions:
    """What `fitnet` can be told.

    weights  "auto": 5, in units of the target's variance (`TargetVariance`), of the mean over levels, shared out where
             several methods guide a student; "paper": 1, of the plain error summed over levels
    weight   replaces the constant
    levels   which levels are compared: see `pair_levels`
    inherit  what of the student starts from the (first) teacher's: "none", "neck", "head" or "both"
    warmup   steps over which the term grows from 0
    """

    weights: Literal["auto", "paper"] = "auto"
    weight: Amount | None = None
    levels: Levels = "auto"
    inherit: Inherit = "none"
    warmup: Steps = 0


@dataclass(frozen=True)
class InImages:
    """Every cell of an image counts alike, the padding not at all; `strides` of the maps that are compared."""

    strides: tuple[int, ...]

    def __call__(self, maps: Sequence[Tensor], step: Step) -> Mapping[str, Sequence[Tensor]]:
        return {"": valid_cells(step.batch.sizes, maps, self.strides)}


def fitnet(student: Detector, teachers: Sequence[Teacher], options: FitNetOptions) -> list[Guidance]:
    """The student's pyramid is to be the teacher's: mean squared error through a 1x1 convolution for each level.

    With `inherit` the student also starts from the teacher's neck or head. Classes do not matter otherwise.

    Source: FitNets (arXiv:1412.6550); constants and layers of the FitNet baseline in HEAD's repository.
    """
    demand_teacher("fitnet", teachers)
    found = inherit("fitnet", student, teachers, options.inherit)
    auto = options.weights == "auto"
    for name, teacher in zip(names_by_teacher("fitnet", teachers), teachers):
        match = pair_levels("fitnet", student, teacher, options.levels)
        constant = AUTO if auto else PAPER
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(student.neck.width, teacher.model.neck.width, len(match.own)),
                criterion=WeightedMSE({"": 1.0}, InImages(match.strides)),
                match=match,
                weight=Weight(
                    constant if options.weight is None else options.weight,
                    Schedule(options.warmup),
                    TargetVariance() if auto else None,
                    auto=auto and options.weight is None,
                ),
            )
        )
    return found
