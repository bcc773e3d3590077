"""A student in training: its only pass in a step, its own losses, and the guidances that it learns from."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.methods.guidance import Guidance
from headstart.methods.step import Needs, Step
from headstart.pace import Pace
from headstart.structures import ImageBatch, Objective, Progress, Targets
from headstart.teachers.base import Teacher


class Method(nn.Module):
    """A student and what it learns from: `forward` gives the weighted terms of one batch.

    Whoever has a training loop of their own calls `method(batch, targets, progress).total.backward()`.

    student    the detector that is trained, and that alone is shipped
    guidances  what it learns from besides its own losses; none is ordinary training. Their names are unique
    teachers   whom they read, for those who place teachers on devices and watch over them

    Raises ValueError if two guidances have one name.
    """

    def __init__(self, student: Detector, guidances: Iterable[Guidance] = (), teachers: Sequence[Teacher] = ()) -> None:
        super().__init__()
        self.student = student
        self.teachers = list(teachers)
        self.guidances = nn.ModuleDict()
        for guidance in guidances:
            if guidance.name in self.guidances:
                raise ValueError(f"two guidances are called {guidance.name}")
            self.guidances[guidance.name] = guidance

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        """`student/NAME` are the student's own losses, the others begin with their guidance's name; all scalars.

        A guidance that rests in this step (`pace`) has no terms, nothing is made for it, and no teacher is run for it.
        """
        guiding = [guidance for guidance in self if guidance.pace.guides(progress.step, progress.total)]
        step = self.step(batch, targets, progress, guiding)
        terms = {f"student/{name}": value for name, value in step.losses.items()}
        for guidance in guiding:
            found, every = guidance(step), guidance.pace.every
            terms |= found if every == 1 else {name: value * every for name, value in found.items()}
        monitors: dict[str, Tensor] = {}
        for guidance in self:  # those that rest as well: numbers to show have the same names in every step
            monitors |= guidance.monitors(step)
        return Objective(terms, monitors)

    def step(
        self, batch: ImageBatch, targets: list[Targets], progress: Progress, guiding: Iterable[Guidance] | None = None
    ) -> Step:
        """The student's pass over a batch, with what these guidances (None: all) need, and their targets."""
        readers = list(self if guiding is None else guiding)
        for guidance in readers:
            targets = guidance.relabel(batch, targets)
        needs = functools.reduce(operator.or_, (guidance.needs for guidance in readers), Needs())
        step = Step(self.student, batch, targets, progress, needs)
        _ = step.regions  # before the assignment: the order in which random numbers are drawn
        return step

    @property
    def paces(self) -> list[Pace]:
        """When its guidances guide, each answer once; without a guidance always."""
        return list(dict.fromkeys(guidance.pace for guidance in self)) or [Pace()]

    def resting(self, step: int, total: int) -> list[nn.Parameter]:
        """What is not trained in a step: the parameters of the guidances that rest in it."""
        resting = [guidance for guidance in self if not guidance.pace.guides(step, total)]
        return [parameter for guidance in resting for parameter in guidance.parameters()]

    def parts(self) -> dict[str, nn.Module]:
        """What is trained besides the student and left out of what is shipped, by its name inside this module."""
        return {f"guidances.{g.name}": g for g in self if any(True for _ in g.parameters())}

    def describe(self) -> list[dict[str, str]]:
        """Rows of the pairing table: what imitates what, through which adapter, at which weight."""
        rows = [(row, guidance.pace.text()) for guidance in self for row in guidance.describe()]
        return [replace(row, weight=f"{row.weight}{pace}").cells() for row, pace in rows]

    def problems(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> list[str]:
        """What makes a guidance senseless on this batch, in sentences."""
        step = self.step(batch, targets, progress)
        return [f"{guidance.name}: {problem}" for guidance in self for problem in guidance.problems(step)]

    def news(self, progress: Progress) -> list[str]:
        """What a user is to be told once about the guidances, in sentences."""
        return [sentence for guidance in self for sentence in guidance.news(progress)]

    def __iter__(self) -> Iterator[Guidance]:
        return iter(self.guidances.values())  # ty: ignore[invalid-explicit-return]
