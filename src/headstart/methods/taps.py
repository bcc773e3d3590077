"""Where a guidance reads: of the student, of a teacher, or of an assistant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from headstart.detectors.taps import read_tap
from headstart.heads.dense import DenseHead
from headstart.methods.step import Needs, Step
from headstart.structures import Signal
from headstart.teachers.base import Teacher


class Tap(Protocol):
    """Called with a step it gives a signal: a map (B, C, H, W) per level, one tensor (R, D), or a head's outputs.

    str() is what the pairing table says.

    needs  what it reads of a step
    """

    @property
    def needs(self) -> Needs: ...

    def __call__(self, step: Step) -> Signal: ...


@dataclass(frozen=True)
class StudentTap:
    """A place inside the student (`detectors.taps`), before its activation; with its gradient."""

    name: str

    @property
    def needs(self) -> Needs:
        return Needs(trace=not self.name.startswith(("backbone", "neck", "output")))

    def __call__(self, step: Step) -> list[Tensor]:
        return read_tap(step.student, self.name, step.features, step.outputs)

    def __str__(self) -> str:
        return f"student {spell(self.name)}"


@dataclass(frozen=True)
class TeacherTap:
    """A place inside a teacher for the same batch, before its activation unless `activated`; without gradient."""

    teacher: Teacher
    name: str
    activated: bool = False

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, step: Step) -> list[Tensor]:
        found = self.teacher.taps(step.batch, [self.name])[self.name]
        if not self.activated:
            return found
        head = self.teacher.model.head
        activate = head.activate if isinstance(head, DenseHead) else functional.relu
        return [activate(x) for x in found]

    def __str__(self) -> str:
        return f"{self.teacher.title} {spell(self.name)}{', resampled' if self.teacher.own is not None else ''}"


def spell(name: str) -> str:
    """A place as the pairing table says it: `cls tower block 3` for cls_tower/3, `fc1` for region/fc1."""
    part, _, which = name.partition("/")
    if part == "region":
        return which
    if part.endswith("_tower") and which:
        return f"{part.replace('_', ' ')} block {which}"
    return " ".join([part, which]).strip()
