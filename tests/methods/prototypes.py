"""Two published methods made of nothing but the method layer's parts, to see that the parts are enough.

FitNet (arXiv:1412.6550), and CrossKD (arXiv:2306.11369) between two GFL detectors. What is shipped is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from headstart.detectors.detector import Detector
from headstart.detectors.taps import level_names
from headstart.errors import UserError
from headstart.heads.cells import flatten
from headstart.heads.gfl import GFLHead
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.adapters import Adapter, ConvAdapter
from headstart.methods.guidance import Guidance
from headstart.methods.imitation import Imitation
from headstart.methods.pairing import Pair
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.structures import Signal
from headstart.teachers.base import Teacher

# -- FitNet ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HintOptions:
    """weight: of all levels together, in units of their targets' variance; None: 0.5."""

    weight: float | None = None


def hint(student: Detector, teachers: Sequence[Teacher], options: HintOptions) -> list[Guidance]:
    """Every level of the student's pyramid imitates the teacher's of the same stride, through a 1x1 convolution."""
    if not teachers:
        raise UserError("method hint needs a teacher: give --teacher FILE")
    own, theirs = student.neck, teachers[0].model.neck
    shared = level_names("P", [stride for stride in own.strides if stride in theirs.strides])
    constant = (0.5 if options.weight is None else options.weight) / len(shared)
    return [
        Imitation(
            f"hint/{level}",
            StudentTap(f"neck/{level}"),
            TeacherTap(teachers[0], f"neck/{level}"),
            adapter=ConvAdapter(own.width, theirs.width),
            weight=Weight(constant, Schedule(), TargetVariance(), auto=options.weight is None),
        )
        for level in shared
    ]


# -- CrossKD -----------------------------------------------------------------------------------------------------------


class Towers:
    """What block `block` of both towers of the student gives, activated: the classes' levels, then the boxes'."""

    needs = Needs(trace=True)

    def __init__(self, block: int) -> None:
        self.taps = [StudentTap(f"{tower}/{block}") for tower in ("cls_tower", "reg_tower")]

    def __call__(self, step: Step) -> list[Tensor]:
        return [functional.relu(maps) for tap in self.taps for maps in tap(step)]

    def __str__(self) -> str:
        return " and ".join(map(str, self.taps))


class Predictions:
    """What the teacher predicts, with block `block` of its towers."""

    needs = Needs()

    def __init__(self, teacher: Teacher, block: int) -> None:
        self.teacher, self.names = teacher, [f"{tower}/{block}" for tower in ("cls_tower", "reg_tower")]

    def __call__(self, step: Step) -> Signal:
        self.teacher.taps(step.batch, self.names)  # so that the outputs keep them
        return self.teacher.outputs(step.batch)

    def __str__(self) -> str:
        return f"{self.teacher.title} predictions"


class CrossHead(Adapter):
    """The student's maps, with the mean and deviation of the teacher's, through the rest of the teacher's head."""

    def __init__(self, teacher: Teacher, start: int) -> None:
        super().__init__()
        self.teacher, self.start = teacher, start

    def forward(self, pair: Pair) -> Signal:
        goal = pair.target
        theirs = [functional.relu(x) for x in goal.cls_trace[self.start - 1] + goal.reg_trace[self.start - 1]]
        maps = [functional.relu(match_statistics(s, t)) for s, t in zip(pair.tensors, theirs, strict=True)]
        half = len(maps) // 2
        return self.teacher.resume(maps[:half], maps[half:], start=self.start, sizes=goal.sizes)

    def __str__(self) -> str:
        return f"teacher's head from block {self.start}"


def match_statistics(own: Tensor, goal: Tensor) -> Tensor:
    """(B, C, H, W) with each channel's mean and deviation over images and cells as in `goal`, of the same shape."""
    (mine, theirs), over = (own.float(), goal.float()), (0, 2, 3)
    unit = (mine - mine.mean(over, keepdim=True)) / (mine.std(over, correction=0, keepdim=True) + 1e-6)
    return unit * theirs.std(over, correction=0, keepdim=True) + theirs.mean(over, keepdim=True)


class GFLPredictions:
    """`cls`: quality focal loss with the teacher's scores as soft labels (beta 1), over the number of positives.
    `reg`: KL divergence of the edges' distributions, weighted by the teacher's confidence.

    Cells that the student's assigner ignores have no part.
    """

    terms = {"cls": 1.0, "reg": 4.0}

    def __init__(self, head: GFLHead) -> None:
        self.head = head

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        head, mask = self.head, step.assignment.weight
        own, goal = (flatten(x.cls, head.num_classes).float() for x in (source, target))
        effort = functional.binary_cross_entropy_with_logits(own, goal.sigmoid(), reduction="none")
        cls = ((own.sigmoid() - goal.sigmoid()).abs() * effort).sum(dim=2) * mask
        count = mean_over_ranks(step.assignment.positive.sum(dim=1).clamp(min=1).sum())
        mine, theirs = (flatten(x.reg, head.code_size).float().unflatten(2, (4, -1)) for x in (source, target))
        gap = functional.kl_div(mine.log_softmax(-1), theirs.log_softmax(-1), reduction="none", log_target=True)
        sure = goal.amax(dim=2).sigmoid() * mask
        reg = (gap.sum(dim=-1).mean(dim=-1) * sure).sum() / sure.sum().clamp(min=1e-6)
        return {"cls": cls.sum() / count, "reg": reg}


@dataclass(frozen=True)
class CrossKDOptions:
    """start: the block of the teacher's towers that the student's features enter; None: the last, as published."""

    start: int | None = None


def crosskd(student: Detector, teachers: Sequence[Teacher], options: CrossKDOptions) -> list[Guidance]:
    """The student's features, through the rest of the teacher's head, are to give the teacher's predictions."""
    if not teachers or not all(isinstance(d.head, GFLHead) for d in (student, teachers[0].model)):
        raise UserError("method crosskd needs a gfl teacher and a gfl student")
    (teacher,), start = teachers, options.start or student.head.tower_shape[1] - 1
    source, target, adapter = Towers(start - 1), Predictions(teacher, start - 1), CrossHead(teacher, start)
    criterion = GFLPredictions(student.head)
    return [Imitation("crosskd", source, target, adapter=adapter, criterion=criterion, weight=Weight(1.0))]
