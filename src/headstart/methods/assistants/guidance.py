"""An assistant's own losses, and its layers and its teacher's as places to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from headstart.methods.assistants.assistant import Assistant, AssistantOutputs
from headstart.methods.guidance import Guidance, Row
from headstart.methods.step import Needs, Step
from headstart.methods.weight import Weight
from headstart.teachers.base import Teacher


def run_once(assistant: Assistant, step: Step) -> AssistantOutputs:
    """What an assistant gives in a step, computed at the first request."""
    return step.once(assistant, lambda: assistant(step))


class AssistantLosses(Guidance):
    """The assistant learns to detect: its losses on the ground truth, `assistant/NAME/...`.

    fresh  what of it did not come from a teacher, for the pairing table
    """

    def __init__(
        self, name: str, assistant: Assistant, weight: Weight, needs: Needs, fresh: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.name, self.assistant, self.weight, self.needs, self.fresh = name, assistant, weight, needs, fresh

    def forward(self, step: Step) -> dict[str, Tensor]:
        losses = run_once(self.assistant, step).losses
        factor = self.weight.factor(step.progress)
        return {f"{self.name}/{key}": value * factor for key, value in losses.items()}

    def describe(self) -> list[Row]:
        fresh = f"; not from the teacher: {', '.join(self.fresh)}" if self.fresh else ""
        return [
            Row("ground truth", f"{self.name} on {self.assistant.levels} of the student{fresh}", "", self.weight.text())
        ]


@dataclass(frozen=True, eq=False)
class AssistantTap:
    """A layer of an assistant, after its activation. `detached`: as a target, without gradient."""

    name: str
    assistant: Assistant
    layer: str
    detached: bool = False

    @property
    def needs(self) -> Needs:
        return Needs()  # the assistant's own guidance says what it needs

    def __call__(self, step: Step) -> list[Tensor]:
        found = run_once(self.assistant, step).layers[self.layer]
        return [x.detach() for x in found] if self.detached else found

    def __str__(self) -> str:
        return f"{self.name} {self.layer}"


@dataclass(frozen=True, eq=False)
class TeacherLayer:
    """The same layer of the teacher's head, after its activation, at the places where the assistant reads."""

    teacher: Teacher
    assistant: Assistant
    layer: str

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, step: Step) -> list[Tensor]:
        outputs = run_once(self.assistant, step)
        layers = step.once(
            (self.assistant, id(self.teacher)), lambda: self.assistant.teacher_layers(self.teacher, step.batch, outputs)
        )
        return layers[self.layer]

    def __str__(self) -> str:
        how = "resampled" if self.assistant.predicts_at == "cells" else "at scaled boxes"
        return f"{self.teacher.title} {self.layer}{f', {how}' if self.teacher.own is not None else ''}"
