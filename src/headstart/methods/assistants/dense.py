"""Assistants that predict at every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch.nn import functional

from headstart.classmap import ClassMap
from headstart.detectors.taps import level_names
from headstart.heads.dense import DenseHead
from headstart.heads.labelled import loss_of_labelled
from headstart.methods.adapters import Adapter, ConvAdapter
from headstart.methods.assistants.assistant import Assistant, AssistantOutputs, Layers
from headstart.methods.assistants.init_from_teacher import init_dense_head
from headstart.methods.pairing import coarsen, stride_factors
from headstart.methods.step import Step
from headstart.structures import ImageBatch
from headstart.teachers.base import Teacher


class DenseAssistant(Assistant):
    """A dense head on the student's levels, each averaged over `factors` x `factors` cells first.

    No regions: assistant and teacher have the same cells, and their maps are compared cell by cell. Levels correspond
    from the finest on. Of a longer student's pyramid the coarsest are left out. A shorter one is made longer by taking
    every second cell of its last level, and so on: the assistant has no weights for that, and its largest objects have
    the levels that the teacher has for them.
    """

    head: DenseHead
    predicts_at = "cells"
    target_layer = "cls_tower"

    def __init__(self, kind: str, head: DenseHead, strides: Sequence[int]) -> None:
        """`strides` of the student's pyramid. Raises UserError unless the head's are whole multiples of them."""
        super().__init__()
        self.kind, self.head, self.layers, self.width = kind, head, head.layer_names, head.width
        self.factors = tuple(stride_factors(strides, head.strides))
        names = level_names("P", strides[: len(self.factors)])
        self.levels = f"{names[0]}..{names[-1]}"
        if max(self.factors) > 1:
            self.levels += f" (averaged to strides {head.strides[0]}..{head.strides[len(self.factors) - 1]})"
        self.more = [later // one for one, later in zip(head.strides, head.strides[1:])][len(self.factors) - 1 :]
        if self.more:
            self.levels += f" (and every second cell up to stride {head.strides[-1]})"

    def adapter(self) -> Adapter:
        """One for all levels."""
        return ConvAdapter(self.width, self.width)

    def forward(self, step: Step) -> AssistantOutputs:
        maps = coarsen(step.features.pyramid, self.factors)
        for factor in self.more:
            maps.append(functional.max_pool2d(maps[-1], 1, stride=factor))
        outputs = self.head.resume(maps, maps, start=0, sizes=step.batch.sizes, trace=True)
        losses = loss_of_labelled(self.head, outputs, step.targets, self.head.assign(outputs, step.targets))
        return AssistantOutputs(losses, self.head.layers(outputs), [])

    @torch.no_grad()
    def teacher_layers(self, teacher: Teacher, batch: ImageBatch, outputs: AssistantOutputs) -> Layers:
        found = teacher.taps(batch, self.layers)
        return {name: [self.head.activate(x) for x in maps] for name, maps in found.items()}

    def init_from_teacher(self, teacher: Teacher, classes: ClassMap) -> list[str]:
        return init_dense_head(self.head, cast(DenseHead, teacher.model.head.predictor), classes)
