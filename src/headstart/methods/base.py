"""What every method is, and the teacher as methods see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from headstart.classmap import ClassMap, match_classes
from headstart.detectors.detector import Detector
from headstart.structures import Features, ImageBatch, Objective, Progress, Targets


class Frozen:
    """A teacher: in evaluation mode for good, without gradients on its weights.

    Not a module, so that the student's tree, optimiser, averages, DDP and checkpoints never see it; copies share it.
    Gradients may pass *through* `model` to its input. One pass per batch serves every lane: the features of the last
    batch object are remembered.

    class_map  what the names of its classes do not say: teacher's class -> student's class, None to leave it out
    """

    name = "teacher"

    def __init__(self, model: Detector, class_map: Mapping[str, str | None] | None = None) -> None:
        # In this layout a pass without gradients is faster on processors, by an eighth or more (benchmarks/README.md).
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.classes = model.classes
        self.class_map = dict(class_map or {})
        self._seen: tuple[ImageBatch, Features] | None = None
        self._said: tuple[ImageBatch, Any] | None = None

    def match(self, classes: Sequence[str]) -> ClassMap:
        """Which of a student's classes each of the teacher's stands for. Raises UserError if none does."""
        return match_classes(self.classes, classes, self.class_map)

    def extract(self, batch: ImageBatch) -> Features:
        """The teacher's stages and pyramid for this batch, computed once, without gradient."""
        if self._seen is None or self._seen[0] is not batch:
            self._seen = None  # the old features go before the new ones come
            with torch.no_grad():
                self._seen = (batch, self.model.extract(batch))
        return self._seen[1]

    def ask(self, batch: ImageBatch) -> Any:
        """What the teacher's head says of this batch, traced, computed once, without gradient."""
        if self._said is None or self._said[0] is not batch:
            with torch.no_grad():
                self._said = (batch, self.model.head(self.extract(batch), batch.sizes, trace=True))
        return self._said[1]

    def forget(self) -> None:
        """Lets go of the remembered features."""
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
    """

    teachers: tuple[type[nn.Module], ...] = ()
    """The heads that it can learn from; none for a method without a teacher."""

    students: tuple[type[nn.Module], ...] = (nn.Module,)
    """The heads that it can train."""

    same_classes: bool = True
    """Whether the teacher must have the student's classes in the same order; a method that goes through
    `teacher.match`, or compares nothing that belongs to a class, says False."""

    several_teachers = False

    def __init__(self, student: Detector, teacher: Frozen | Sequence[Frozen] | None = None) -> None:
        super().__init__()
        self.student = student
        self.guides = [teacher] if isinstance(teacher, Frozen) else list(teacher or ())

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
