"""What all kinds of assistants have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from headstart.classmap import ClassMap
from headstart.methods.adapters import Adapter, LinearAdapter
from headstart.methods.step import Step
from headstart.structures import ImageBatch, Regions
from headstart.teachers.base import Teacher

Layers = dict[str, list[Tensor]]
"""What a head has to imitate, by layer: of a box head one tensor (R, D), of a dense head a map (B, C, H, W) per level.
All are values after their activation: both official hooks see what an in-place ReLU left."""


@dataclass(frozen=True)
class AssistantOutputs:
    """losses {name: scalar} on the ground truth; layers; regions: what each stage of box heads read, image by image."""

    losses: dict[str, Tensor]
    layers: Layers
    regions: list[list[Regions]]


class Assistant(nn.Module):
    """A head on the student's pyramid, with the student's classes.

    kind          as `KINDS` names it
    layers        the names of what it imitates, in order, each `width` wide
    levels        the student's levels that it reads, in words
    predicts_at   "cells", or "regions" (those that the student proposes)
    target_layer  the layer of its kind that the student's own head is compared with (CKD): of a teacher with such a
                  head, or of the assistant itself; `target_towers` where a dense student has two towers to compare
    factors       of a dense assistant: how many of the student's cells make one of its own, level by level
    """

    kind: str
    layers: tuple[str, ...]
    width: int
    levels: str
    predicts_at: str
    target_layer: str
    factors: tuple[int, ...] = ()

    def adapter(self) -> Adapter:
        """A new one from a layer of its own to the teacher's, as PyTorch starts it."""
        return LinearAdapter(self.width, self.width)

    def forward(self, step: Step) -> AssistantOutputs:
        raise NotImplementedError

    def teacher_layers(self, teacher: Teacher, batch: ImageBatch, outputs: AssistantOutputs) -> Layers:
        """The same layers of the teacher's head at the same places, without gradient."""
        raise NotImplementedError

    def init_from_teacher(self, teacher: Teacher, classes: ClassMap) -> list[str]:
        """Start from the weights of the teacher's head; what cannot be had from it is returned by name."""
        raise NotImplementedError
