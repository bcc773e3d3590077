"""Assistants that predict at every cell, and how the student's levels are brought to the teacher's strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.classmap import ClassMap
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.methods.assistants.assistant import Assistant, Layers, Reading, Sight, level_names
from headstart.methods.assistants.inherit import inherit_dense_head
from headstart.methods.base import Frozen
from headstart.structures import ImageBatch


class DenseAssistant(Assistant):
    """A dense head on the student's levels, each averaged over `factors` x `factors` cells first.

    No regions: assistant and teacher have the same cells, and their maps are compared cell by cell.
    """

    head: DenseHead
    through = "1x1"

    def __init__(self, kind: str, head: DenseHead, strides: Sequence[int]) -> None:
        """`strides` of the student's pyramid."""
        super().__init__()
        self.kind, self.head, self.layers, self.width = kind, head, head.layer_names, head.width
        self.factors = factors(strides, head.strides)
        self.where = level_names(strides[: len(self.factors)])
        if max(self.factors) > 1:
            self.where += f" (averaged to strides {head.strides[0]}..{head.strides[-1]})"

    def adapter(self) -> nn.Module:
        """One for all levels."""
        return nn.Conv2d(self.width, self.width, 1)

    def forward(self, sight: Sight) -> Reading:
        maps = coarsen(sight.features.pyramid, self.factors)
        outputs = self.head.resume(maps, maps, start=0, sizes=sight.sizes, trace=True)
        losses = self.head.loss(outputs, self.head.assign(outputs, sight.targets))
        return Reading(losses, self.head.layers(outputs), [])

    @torch.no_grad()
    def consult(self, teacher: Frozen, batch: ImageBatch, reading: Reading) -> Layers:
        return teacher.model.head.layers(teacher.ask(batch))

    def inherit(self, guide: Any, classes: ClassMap) -> list[str]:
        return inherit_dense_head(self.head, guide, classes)


def factors(own: Sequence[int], goal: Sequence[int]) -> list[int]:
    """How many cells of each level of strides `own` make one of strides `goal`, by the levels' place from the finest.

    By place and not by stride, as box heads find their level: the finest level of each pyramid answers for the
    smallest objects. Raises UserError where levels are missing or strides are not whole multiples.
    """
    found = [theirs / mine for mine, theirs in zip(own, goal)]
    if len(own) < len(goal) or any(f < 1 or f != int(f) for f in found):
        raise UserError(
            f"method head: a dense teacher of strides {_listed(goal)} cannot be compared with a student of strides "
            f"{_listed(own)}: the student needs as many levels, each at the teacher's stride or a whole part of it"
        )
    return [int(f) for f in found]


def _listed(strides: Sequence[int]) -> str:
    return ", ".join(str(stride) for stride in strides)


def coarsen(maps: Sequence[Tensor], parts: Sequence[int]) -> list[Tensor]:
    """Level l averaged over parts[l] x parts[l] cells (fewer at the border); levels beyond `parts` are left out."""
    return [m if k == 1 else functional.avg_pool2d(m, k, ceil_mode=True) for m, k in zip(maps, parts)]
