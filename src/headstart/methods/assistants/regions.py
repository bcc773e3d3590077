"""Assistants that read regions: the box head of Faster R-CNN, and Cascade R-CNN's, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from headstart.classmap import ClassMap
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.roi import BoxHead
from headstart.methods.assistants.assistant import Assistant, Layers, Reading, Sight, level_names
from headstart.methods.assistants.inherit import inherit_box_head
from headstart.methods.base import Frozen
from headstart.structures import ImageBatch


class RCNNAssistant(Assistant):
    """An R-CNN head at the regions that the student proposes.

    Student and teacher read the same boxes by the same level rule from their own pyramids, level by level from the
    first: a student of strides 8.. is read at twice the stride of a teacher of strides 4...
    """

    kind = "rcnn"
    head: BoxHead

    def __init__(self, head: BoxHead) -> None:
        super().__init__()
        self.head, self.layers, self.width = head, head.layers, head.hidden
        self.where = level_names(head.strides)

    def forward(self, sight: Sight) -> Reading:
        read = self.head(sight.features.pyramid, [p.boxes for p in sight.places])
        return Reading(self.head.loss(read, sight.places), activated(read.hidden), [sight.places])

    @torch.no_grad()
    def consult(self, teacher: Frozen, batch: ImageBatch, reading: Reading) -> Layers:
        boxes = [p.boxes for p in reading.places[0]]
        return activated(teacher.model.head.roi.read(teacher.extract(batch).pyramid, boxes))

    def inherit(self, guide: Any, classes: ClassMap) -> list[str]:
        return inherit_box_head(self.head, guide, classes)


class CascadeAssistant(Assistant):
    """Cascade R-CNN's box heads, from the regions that the student proposes.

    The first stage reads the shared regions; the boxes that a later one reads are those that the assistant refined,
    sampled anew at its own IoU. The teacher's stages are asked about the assistant's boxes, never about their own.
    """

    kind = "cascade"
    head: CascadeRoIHead

    def __init__(self, head: CascadeRoIHead) -> None:
        super().__init__()
        self.head, self.width = head, head.heads[0].hidden
        self.layers = tuple(f"stage{s}_{layer}" for s, stage in enumerate(head.heads) for layer in stage.layers)
        self.where = level_names(head.heads[0].strides)

    def forward(self, sight: Sight) -> Reading:
        stages = self.head(sight.features.pyramid, [], sight.sizes, sight.targets, first=sight.places)
        layers = {}
        for index, stage in enumerate(stages):
            layers |= activated(stage.roi.hidden, f"stage{index}_")
        return Reading(self.head.loss(stages), layers, [stage.regions for stage in stages])

    @torch.no_grad()
    def consult(self, teacher: Frozen, batch: ImageBatch, reading: Reading) -> Layers:
        pyramid, layers = teacher.extract(batch).pyramid, {}
        for index, (stage, places) in enumerate(zip(teacher.model.head.roi.heads, reading.places)):
            layers |= activated(stage.read(pyramid, [p.boxes for p in places]), f"stage{index}_")
        return layers

    def inherit(self, guide: Any, classes: ClassMap) -> list[str]:
        missing = []
        for index, (own, other) in enumerate(zip(self.head.heads, guide.heads)):
            missing += [f"stage{index}.{name}" for name in inherit_box_head(own, other, classes)]
        return missing


def activated(hidden: list[Tensor], prefix: str = "") -> Layers:
    """{fc0, fc1}: HEAD compares the layers after their ReLU."""
    return {f"{prefix}fc{index}": [functional.relu(x)] for index, x in enumerate(hidden)}
