"""FRS: pyramid and classes are to be the teacher's where it sees objects (feature richness score, arXiv:2111.00674)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.heads.dense import DenseHead
from headstart.heads.rpn import RPNHead
from headstart.methods.adapters import LevelAdapter
from headstart.methods.assistants import kind_of
from headstart.methods.criteria.scored_classes import ScoredClasses
from headstart.methods.criteria.weighted_mse import WeightedMSE
from headstart.methods.guidance import Guidance, Remark, Row, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.levels import LevelPairs, Levels, pair_levels
from headstart.methods.masks import valid_cells
from headstart.methods.published import WIDTH
from headstart.methods.scores import scoring_head, student_outputs, teacher_outputs, teacher_scores
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Steps
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher

PAPER = {
    "retinanet": (0.005, 0.02),
    "fcos": (0.01, 0.05),
    "gfl": (0.1, 0.05),
    "rcnn": (0.002, 0.1),
    "cascade": (0.002, 0.1),
}
"""The constants of the feature term, of errors summed over 256 channels, and of the class term, by the teacher's kind;
others have RetinaNet's."""

WARMUP = 500
"""Steps, as published."""


@dataclass(frozen=True)
class FRSOptions:
    """What `frs` can be told.

    weights         "auto": the published constants for the teacher's kind of head, shared out where several methods
                    guide a student; "paper": the same, not shared out
    feature_weight, cls_weight   replace the constants, in the paper's units
    levels          which levels are compared: see `pair_levels`
    warmup          steps over which the terms grow from 0; None: 500, but at most a tenth of the run
    """

    weights: Literal["auto", "paper"] = "auto"
    feature_weight: Amount | None = None
    cls_weight: Amount | None = None
    levels: Levels = "auto"
    warmup: Steps | None = None


@dataclass(frozen=True, eq=False)
class WhereTeacherSees:
    """Every cell counts as much as the teacher's score there; the padding does not."""

    teacher: Teacher
    match: LevelPairs

    def __call__(self, maps: Sequence[Tensor], step: Step) -> Mapping[str, Sequence[Tensor]]:
        scores = teacher_scores(self.teacher, step)
        scores = self.match.pick([scores[level] for level in self.match.other], self.match.other_strides)
        valid = valid_cells(step.batch.sizes, maps, self.match.strides)
        return {"": [score * inside for score, inside in zip(scores, valid, strict=True)]}


@dataclass(frozen=True, eq=False)
class CellClasses:
    """What a teacher's head (None: the student's own) says at cells."""

    teacher: Teacher | None = None
    needs = Needs()

    def __call__(self, step: Step) -> DenseOutputs:
        return student_outputs(step) if self.teacher is None else teacher_outputs(self.teacher, step)

    def __str__(self) -> str:
        return f"{'student' if self.teacher is None else self.teacher.title} classes"


def frs(student: Detector, teachers: Sequence[Teacher], options: FRSOptions) -> list[Guidance]:
    """Pyramid and classes are to be the teacher's, each cell weighted by the teacher's score there.

    The pyramid by the squared error through a 3x3 convolution for each level: any pair. The classes (of two-stage
    detectors the RPN's) by binary cross-entropy where both heads say the same numbers about the same priors; else the
    pairing table says that they are left out.

    Source: FRS (arXiv:2111.00674), repository duzhixing/FRS. Ultralytics' distillation is the feature term.
    """
    demand_teacher("frs", teachers)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("frs", teachers), teachers):
        match = pair_levels("frs", student, teacher, options.levels)
        feature, cls = PAPER.get(kind_of(teacher.model.head), PAPER["retinanet"])
        feature = feature if options.feature_weight is None else options.feature_weight
        where = WhereTeacherSees(teacher, match)
        found.append(
            Imitation(
                f"{name}/neck",
                StudentTap("neck"),
                TeacherTap(teacher, "neck"),
                adapter=LevelAdapter(student.neck.width, teacher.model.neck.width, len(match.own), 3),
                criterion=WeightedMSE({"": feature * WIDTH}, where),
                match=match,
                weight=_weight(options, given=options.feature_weight is not None),
            )
        )
        why = _why_not(student, teacher)
        if why is not None:
            found.append(Remark(f"{name}/cls", Row(f"{teacher.title} classes", f"left out: {why}", "-", "-")))
            continue
        criterion = ScoredClasses(teacher, cls if options.cls_weight is None else options.cls_weight)
        weight = _weight(options, given=options.cls_weight is not None)
        found.append(Imitation(f"{name}/cls", CellClasses(), CellClasses(teacher), criterion=criterion, weight=weight))
    return found


def _weight(options: FRSOptions, *, given: bool) -> Weight:
    return Weight(1.0, Schedule(options.warmup, longest=WARMUP), auto=options.weights == "auto" and not given)


def _why_not(student: Detector, teacher: Teacher) -> str | None:
    """Why the class term cannot be had; None if it can. Raises UserError if no class is in common."""
    classes = teacher.match(student.classes)
    own, theirs = scoring_head(student.head), scoring_head(teacher.model.head)
    if own is None or type(own) is not type(theirs):
        return "heads of different kinds"
    if _priors(own) != _priors(theirs):
        return "heads with different priors"
    if isinstance(own, DenseHead) and not classes.identical:
        return "other classes"
    return None


def _priors(head: DenseHead | RPNHead | None) -> tuple[object, ...]:
    """What says where the priors of a head are."""
    if head is None:
        return ()
    shape = [getattr(head.hparams, key, None) for key in ("anchor_scale", "anchor_sizes", "ratios", "point_scale")]
    return head.num_anchors, tuple(head.strides), head.convention, *shape
