"""What predicts at the cells of a pyramid, whatever the detector: a dense head, or the RPN of a two-stage one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.heads.dense import DenseHead
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import RPNBasedHead, TwoStageOutputs
from headstart.methods.step import Needs, Step
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher


def teacher_cells(teacher: Teacher, step: Step) -> DenseOutputs:
    """A teacher's outputs at cells: a dense head's, or those of its RPN, which runs alone, traced; once in a step."""
    head = teacher.model.head
    if not isinstance(head, RPNBasedHead):
        found = teacher.outputs(step.batch)
        if isinstance(found, TwoStageOutputs):
            raise TypeError(f"expected the outputs of a dense head, found {type(found).__name__}")
        return found

    @torch.no_grad()
    def run() -> DenseOutputs:
        return head.rpn.resume(teacher.taps(step.batch, ["neck"])["neck"], start=0, sizes=step.batch.sizes, trace=True)

    return step.once(("teacher RPN", teacher), run)


def student_cells(step: Step) -> DenseOutputs:
    """The student's outputs at cells. Raises TypeError for a student that is not ours."""
    found = step.outputs
    if isinstance(found, TwoStageOutputs):
        return found.rpn
    if not isinstance(found, DenseOutputs):
        raise TypeError(f"expected the outputs of a head at cells, found {type(found).__name__}")
    return found


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
        found = student_cells(step) if self.teacher is None else teacher_cells(self.teacher, step)
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
        found = student_cells(step) if self.teacher is None else teacher_cells(self.teacher, step)
        quality = found.quality[: self.levels] if found.quality else None
        return DenseOutputs(found.cls[: self.levels], found.reg[: self.levels], quality, found.sizes)

    def __str__(self) -> str:
        who = "student" if self.teacher is None else self.teacher.title
        return f"{who} {'RPN' if isinstance(self.head, RPNHead) else 'dense'} predictions"
