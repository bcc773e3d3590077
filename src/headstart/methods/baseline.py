"""The student alone: what every distillation has to beat."""

from __future__ import annotations

from headstart.methods.base import Method
from headstart.structures import ImageBatch, Objective, Progress, Targets


class Baseline(Method):
    """Ordinary training with the detector's own losses, no teacher."""

    same_classes = False

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        losses = self.student.loss(self.student(batch, targets), targets)
        return Objective({f"student/{name}": value for name, value in losses.items()})
