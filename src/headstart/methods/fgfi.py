"""FGFI: the pyramid is to be the teacher's near objects (arXiv:1906.03609)."""

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
from headstart.methods.levels import Levels, pair_levels
from headstart.methods.masks import anchor_masks, anchors_of, valid_cells
from headstart.methods.scores import scoring_head
from headstart.methods.step import Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Share, Steps
from headstart.teachers.base import Teacher

PAPER = 0.01
"""The constant of half the error, summed over channels and averaged over the cells that count."""

CHANNELS = 512
"""Of the map that the paper imitates, VGG's last."""

WARMUP = 400
"""Steps of the first epoch in which the released code has the term switched off."""


@dataclass(frozen=True)
class FGFIOptions:
    """What `fgfi` can be told.

    weights    "auto": the published constant, shared out where several methods guide a student; "paper": the same, not
               shared out
    weight     replaces the constant, in the paper's units
    threshold  a cell counts if an anchor's IoU with an object exceeds this part of the best anchor's
    levels     which levels are compared: see `pair_levels`
    warmup     steps over which the term grows from 0; None: 400, but at most a tenth of the run
    """

    weights: Literal["auto", "paper"] = "auto"
    weight: Amount | None = None
    threshold: Share = 0.5
    levels: Levels = "auto"
    warmup: Steps | None = None


@dataclass(frozen=True, eq=False)
class NearObjects:
    """The cells near objects count, see `anchor_masks`; anchors are the student's, else the teacher's, else squares."""

    teacher: Teacher
    strides: tuple[int, ...]
    threshold: float

    def __call__(self, maps: Sequence[Tensor], step: Step) -> Mapping[str, Sequence[Tensor]]:
        heads = [scoring_head(step.student.head), scoring_head(self.teacher.model.head)]
        anchors = anchors_of(heads, maps, self.strides)
        valid = valid_cells(step.batch.sizes, maps, self.strides)
        return {"": anchor_masks(step.targets, valid, anchors, threshold=self.threshold)}


def fgfi(student: Detector, teachers: Sequence[Teacher], options: FGFIOptions) -> list[Guidance]:
    """The student's pyramid is to be the teacher's at cells whose anchors come near an object; nothing else counts.

    Squared error through a 3x3 convolution for each level, averaged over levels. Classes do not matter.

    Source: fine-grained feature imitation (arXiv:1906.03609), repository twangnh/Distilling-Object-Detectors. It
    imitates one map after a ReLU and has one after the adapter; pyramids have negative values, so there is none here.
    """
    demand_teacher("fgfi", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("fgfi", teachers), teachers):
        match = pair_levels("fgfi", student, teacher, options.levels)
        constant = PAPER if options.weight is None else options.weight
        where = NearObjects(teacher, match.strides, options.threshold)
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(student.neck.width, teacher.model.neck.width, len(match.own), 3),
                criterion=WeightedMSE({"": constant * CHANNELS / 2 / len(match.own)}, where),
                match=match,
                weight=Weight(
                    1.0,
                    Schedule(options.warmup, longest=WARMUP),
                    auto=options.weights == "auto" and options.weight is None,
                ),
            )
        )
    return found
