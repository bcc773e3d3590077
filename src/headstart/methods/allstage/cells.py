"""What predicts at the cells of a pyramid, whatever the detector: a dense head, or the RPN of a two-stage one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from headstart.heads.dense import DenseHead
from headstart.heads.rpn import RPNHead
from headstart.methods.scores import student_outputs, teacher_outputs
from headstart.methods.step import Needs, Step
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher


@dataclass(frozen=True, eq=False)
class RPNTower:
    """The last block of an RPN's tower before its activation, a map per level; of the student where there is no
    `teacher`."""

    rpn: RPNHead
    teacher: Teacher | None = None

    @property
    def needs(self) -> Needs:
        return Needs(trace=self.teacher is None)

    def __call__(self, step: Step) -> list[Tensor]:
        found = student_outputs(step) if self.teacher is None else teacher_outputs(self.teacher, step)
        return found.inner[f"tower/{len(self.rpn.tower) - 1}"]

    def __str__(self) -> str:
        return f"{'student' if self.teacher is None else self.teacher.title} RPN tower"


@dataclass(frozen=True, eq=False)
class CellOutputs:
    """The predictions at the cells of the first `levels` levels; of the student where there is no `teacher`."""

    head: DenseHead | RPNHead
    levels: int
    teacher: Teacher | None = None

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, step: Step) -> DenseOutputs:
        found = student_outputs(step) if self.teacher is None else teacher_outputs(self.teacher, step)
        quality = found.quality[: self.levels] if found.quality else None
        return DenseOutputs(found.cls[: self.levels], found.reg[: self.levels], quality, found.sizes)

    def __str__(self) -> str:
        who = "student" if self.teacher is None else self.teacher.title
        return f"{who} {'RPN' if isinstance(self.head, RPNHead) else 'dense'} predictions"
