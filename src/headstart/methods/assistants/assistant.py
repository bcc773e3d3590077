"""What an assistant is given, what it gives, and what all kinds have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from headstart.classmap import ClassMap
from headstart.methods.base import Frozen
from headstart.structures import Features, ImageBatch, Regions, Size, Targets

Layers = dict[str, list[Tensor]]
"""What a head has to imitate, by layer: of a box head one tensor (R, D), of a dense head a map (B, C, H, W) per level.
All are values after their activation: both official hooks see what an in-place ReLU left."""


@dataclass(frozen=True)
class Sight:
    """What a step shows of the student, to all assistants alike.

    outputs  of the student's head, traced, made with `targets`
    places   the regions that everybody reads who reads regions, sampled once; [] where nobody does
    rows     which of a two-stage student's own regions these are, in order; None: all of them
    """

    features: Features
    outputs: Any
    sizes: list[Size]
    targets: list[Targets]
    places: list[Regions]
    rows: Tensor | None = None


@dataclass(frozen=True)
class Reading:
    """losses {name: scalar} on the ground truth; layers; places: what each stage of box heads read, image by image."""

    losses: dict[str, Tensor]
    layers: Layers
    places: list[list[Regions]]


class Assistant(nn.Module):
    """A head on the student's pyramid, with the student's classes.

    kind    as `KINDS` names it;  layers  the names of what it imitates, in order, each `width` wide
    where   the student's levels that it reads, in words
    """

    kind: str
    head: Any
    layers: tuple[str, ...]
    width: int
    where: str
    through = "linear"

    def adapter(self) -> nn.Module:
        """A new one from a layer of its own to the teacher's, as PyTorch starts it."""
        return nn.Linear(self.width, self.width)

    def forward(self, sight: Sight) -> Reading:
        raise NotImplementedError

    def consult(self, teacher: Frozen, batch: ImageBatch, reading: Reading) -> Layers:
        """The same layers of the teacher's head at the same places, without gradient."""
        raise NotImplementedError

    def inherit(self, guide: Any, classes: ClassMap) -> list[str]:
        """Start from the weights of the teacher's head; what cannot be had from it is returned by name."""
        raise NotImplementedError


def level_names(strides: Sequence[int]) -> str:
    """P3..P6 for strides 8 to 64."""
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    return f"P{first}..P{last}"
