"""What every method is, and the teacher as methods see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from headstart.classmap import ClassMap, match_classes
from headstart.detectors.detector import Detector
from headstart.structures import Features, ImageBatch, Objective, Progress, Targets

TEACHER = "teacher"
"""The name of a teacher that is the only one."""


class Frozen:
    """A teacher: in evaluation mode for good, without gradients on its weights.

    Not a module, so that the student's tree, optimiser, averages, DDP and checkpoints never see it; copies share it.
    Gradients may pass *through* `model` to its input. One pass per batch serves every lane: the features of the last
    batch object, and what the head said to them, are remembered.

    class_map  what the names of its classes do not say: teacher's class -> student's class, None to leave it out
    name       what tables and logs call it; of several teachers each needs its own
    """

    def __init__(
        self, model: Detector, class_map: Mapping[str, str | None] | None = None, *, name: str = TEACHER
    ) -> None:
        # In this layout a pass without gradients is faster on processors, by an eighth or more (benchmarks/README.md).
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.classes = model.classes
        self.class_map = dict(class_map or {})
        self.name = name
        self._seen: tuple[ImageBatch, Features] | None = None
        self._said: tuple[ImageBatch, Any] | None = None

    @property
    def title(self) -> str:
        """`teacher`, or `teacher NAME` where there are several."""
        return TEACHER if self.name == TEACHER else f"{TEACHER} {self.name}"

    def match(self, classes: Sequence[str]) -> ClassMap:
        """Which of a student's classes each of the teacher's stands for. Raises UserError if none does."""
        return match_classes(self.classes, classes, self.class_map)

    def extract(self, batch: ImageBatch) -> Features:
        """The teacher's stages and pyramid for this batch, computed once, without gradient."""
        if self._seen is None or self._seen[0] is not batch:
            self.forget()  # the old features go before the new ones come
            with torch.no_grad():
                self._seen = (batch, self.model.extract(batch))
        return self._seen[1]

    def ask(self, batch: ImageBatch) -> Any:
        """What the teacher's head says to this batch, traced, computed once, without gradient."""
        if self._said is None or self._said[0] is not batch:
            features = self.extract(batch)
            with torch.no_grad():
                self._said = (batch, self.model.head(features, batch.sizes, trace=True))
        return self._said[1]

    def forget(self) -> None:
        """Lets go of what is remembered."""
        self._seen = self._said = None

    def to(self, *args: Any, **kwargs: Any) -> Frozen:
        self.model.to(*args, **kwargs)
        self.forget()
        return self

    def __deepcopy__(self, memo: dict) -> Frozen:
        return self

    def __copy__(self) -> Frozen:
        return self


class Method(nn.Module):
    """A way to train a student: `forward` gives the weighted terms of one batch.

    Whoever has a training loop of their own calls `method(batch, targets, progress).total.backward()`.
    `guides` are its teachers, each a `Frozen`; `teacher` is the first of them, or None.
    """

    teachers: tuple[type[nn.Module], ...] = ()
    """The heads that it can learn from; none for a method without a teacher."""

    students: tuple[type[nn.Module], ...] = (nn.Module,)
    """The heads that it can train."""

    same_classes: bool = True
    """Whether the teacher must have the student's classes in the same order; a method that goes through
    `teacher.match`, or compares nothing that belongs to a class, says False."""

    several_teachers: bool = False
    """Whether it can learn from more than one teacher at once, all of `guides`."""

    def __init__(self, student: Detector, teacher: Frozen | Sequence[Frozen] | None = None) -> None:
        super().__init__()
        self.student = student
        self.guides = list_teachers(teacher)

    @property
    def teacher(self) -> Frozen | None:
        return self.guides[0] if self.guides else None

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        raise NotImplementedError

    def parts(self) -> dict[str, nn.Module]:
        """What is trained besides the student and left out of what is shipped."""
        return {}

    def describe(self) -> list[dict[str, str]]:
        """Rows of the pairing table: what imitates what, through which adapter, at which weight."""
        return []


def list_teachers(teacher: Frozen | Sequence[Frozen] | None) -> list[Frozen]:
    """None, one or several, as a list."""
    if teacher is None:
        return []
    return [teacher] if isinstance(teacher, Frozen) else list(teacher)
