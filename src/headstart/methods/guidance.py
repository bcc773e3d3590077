"""What a student learns from besides its own losses: the parts that methods are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headstart.errors import UserError
from headstart.methods.step import Needs, Step
from headstart.pace import Pace
from headstart.structures import ImageBatch, Progress, Targets
from headstart.teachers.base import Teacher


@dataclass(frozen=True)
class Row:
    """A row of the pairing table: what is imitated, by what, through which adapter, at which weight."""

    imitated: str
    learner: str
    through: str
    weight: str

    def cells(self) -> dict[str, str]:
        """The row by the titles of its columns."""
        return {"from": self.imitated, "to": self.learner, "through": self.through, "weight": self.weight}


class Guidance(nn.Module):
    """Something that a student learns from: `forward` gives weighted scalars of one step by their names.

    The names are the same in every step that it is called in; a term whose schedule has ended is 0, not absent. What a
    guidance trains (adapters, assistants) are its submodules; a teacher is not a module, so it never is among them.

    name   its own among all guidances of a method; the names of its terms begin with it
    needs  what it reads of a step
    pace   in which steps `Method` calls it: an option of every method, so no guidance has to know of it
    """

    name: str
    needs: Needs = Needs()
    pace: Pace = Pace()

    def relabel(self, batch: ImageBatch, targets: list[Targets]) -> list[Targets]:
        """What the student is to find in each image, where that is not what the data says.

        Asked before the student's pass, which may depend on it, in the order of the guidances; all guidances of the
        method then read the result as `step.targets`. The list and what is in it must not be changed in place.
        """
        return targets

    def forward(self, step: Step) -> dict[str, Tensor]:
        raise NotImplementedError

    def monitors(self, step: Step) -> dict[str, Tensor]:
        """Numbers of a step to show beside the terms: scalars without gradient, the same names always."""
        return {}

    def describe(self) -> list[Row]:
        """Rows of the pairing table."""
        return []

    def problems(self, step: Step) -> list[str]:
        """What makes it senseless on this step's images, in sentences; asked once, before training."""
        return []

    def share(self, part: float) -> None:
        """Counts only `part` as much, where its weight is automatic: several methods share it out."""

    def news(self, progress: Progress) -> list[str]:
        """What a user is to be told once, in sentences, when training stands at `progress`; asked now and then."""
        return []


class Remark(Guidance):
    """A row of the pairing table and nothing else: what was done before training, or what is left out, and why."""

    def __init__(self, name: str, row: Row) -> None:
        super().__init__()
        self.name, self.row = name, row

    def forward(self, step: Step) -> dict[str, Tensor]:
        return {}

    def describe(self) -> list[Row]:
        return [self.row]


def names_by_teacher(method: str, teachers: Sequence[Teacher]) -> list[str]:
    """How a method's terms begin, one name for each teacher: METHOD where there is one, else METHOD/TEACHER."""
    if len(teachers) == 1:
        return [method]
    names: list[str] = []
    for teacher in teachers:
        name, number = f"{method}/{teacher.name}", 1
        while name in names:
            number += 1
            name = f"{method}/{teacher.name}-{number}"
        names.append(name)
    return names


def demand_teacher(method: str, teachers: Sequence[Teacher]) -> None:
    """Raises UserError if there is no teacher."""
    if not teachers:
        raise UserError(
            f"method {method} needs a teacher: give --teacher FILE, weights of a detector trained on such objects"
        )
