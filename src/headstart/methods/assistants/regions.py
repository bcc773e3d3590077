"""Assistants that read regions: the box head of Faster R-CNN, and Cascade R-CNN's, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from headstart.classmap import ClassMap
from headstart.detectors.taps import level_names
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.labelled import labelled_regions, labelled_stage
from headstart.heads.roi import BoxHead
from headstart.methods.assistants.assistant import Assistant, AssistantOutputs, Layers
from headstart.methods.assistants.init_from_teacher import init_box_head
from headstart.methods.step import Step
from headstart.structures import ImageBatch
from headstart.teachers.base import Teacher


class RCNNAssistant(Assistant):
    """An R-CNN head at the regions that the student proposes.

    Student and teacher read the same boxes by the same level rule from their own pyramids, level by level from the
    first: a student of strides 8.. is read at twice the stride of a teacher of strides 4...
    """

    kind = "rcnn"
    predicts_at = "regions"
    head: BoxHead

    def __init__(self, head: BoxHead) -> None:
        super().__init__()
        self.head, self.layers, self.width = head, head.layers, head.hidden
        self.target_layer = head.layers[-1]
        self.levels = _span(head)

    def forward(self, step: Step) -> AssistantOutputs:
        read = self.head(step.features.pyramid, [r.boxes for r in step.regions])
        losses = self.head.loss(*labelled_regions(read, step.regions, step.targets))
        return AssistantOutputs(losses, activated(read.hidden), [step.regions])

    @torch.no_grad()
    def teacher_layers(self, teacher: Teacher, batch: ImageBatch, outputs: AssistantOutputs) -> Layers:
        return activated(teacher.at(batch, [r.boxes for r in outputs.regions[0]]))

    def init_from_teacher(self, teacher: Teacher, classes: ClassMap) -> list[str]:
        return init_box_head(self.head, teacher.model.head.box_heads[0], classes)


class CascadeAssistant(Assistant):
    """Cascade R-CNN's box heads, from the regions that the student proposes.

    The first stage reads the shared regions; the boxes that a later one reads are those that the assistant refined,
    sampled anew at its own IoU. The teacher's stages are asked about the assistant's boxes, never about their own.
    """

    kind = "cascade"
    predicts_at = "regions"
    head: CascadeRoIHead

    def __init__(self, head: CascadeRoIHead) -> None:
        super().__init__()
        first = head.heads[0]
        self.head, self.width = head, first.hidden
        self.layers = tuple(f"stage{s}_{layer}" for s, stage in enumerate(head.heads) for layer in stage.layers)
        self.target_layer = f"stage0_{first.layers[-1]}"
        self.levels = _span(first)

    def forward(self, step: Step) -> AssistantOutputs:
        stages = self.head(step.features.pyramid, [], step.batch.sizes, step.targets, first=step.regions)
        layers = {}
        for index, stage in enumerate(stages):
            layers |= activated(stage.roi.hidden, f"stage{index}_")
        losses = self.head.loss([labelled_stage(stage, step.targets) for stage in stages])
        return AssistantOutputs(losses, layers, [stage.regions for stage in stages])

    @torch.no_grad()
    def teacher_layers(self, teacher: Teacher, batch: ImageBatch, outputs: AssistantOutputs) -> Layers:
        layers = {}
        for index, regions in enumerate(outputs.regions):
            read = teacher.at(batch, [r.boxes for r in regions], stage=index)
            layers |= activated(read, f"stage{index}_")
        return layers

    def init_from_teacher(self, teacher: Teacher, classes: ClassMap) -> list[str]:
        missing = []
        for index, (own, other) in enumerate(zip(self.head.heads, teacher.model.head.box_heads)):
            missing += [f"stage{index}.{name}" for name in init_box_head(own, other, classes)]
        return missing


def activated(hidden: list[Tensor], prefix: str = "") -> Layers:
    """{fc0, fc1}: HEAD compares the layers (R, D) after their ReLU."""
    return {f"{prefix}fc{index}": [functional.relu(x)] for index, x in enumerate(hidden)}


def _span(head: BoxHead) -> str:
    names = level_names("P", head.strides)
    return f"{names[0]}..{names[-1]}"
