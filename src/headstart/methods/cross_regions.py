"""A student's region features through a two-stage teacher's frozen box head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from headstart.detectors.detector import Detector
from headstart.detectors.taps import read_tap, tap_width
from headstart.methods.assistants import Assistant
from headstart.methods.assistants.guidance import run_once
from headstart.methods.step import Needs, Step
from headstart.structures import RegionOutputs
from headstart.teachers.base import Teacher


class CrossRegions(nn.Module):
    """A student at the regions that it proposes, entered into a teacher's (first) box head; gives its predictions.

    start 0: the teacher's box head reads the student's pyramid, through a 1x1 convolution where widths differ, level by
    level from the finest (a student of strides 8.. is read at twice the stride of a teacher of strides 4..).
    start k: the vectors of a two-stage student's fully connected layer k - 1, through a linear layer where widths
    differ.
    """

    def __init__(self, student: Detector, teacher: Teacher, start: int, needs: Needs) -> None:
        super().__init__()
        self.teacher, self.start, self.needs = teacher, start, needs
        place = f"region/fc{start - 1}" if start else "neck"
        self.place = place
        widths = tap_width(student, place), tap_width(teacher.model, place)
        made = nn.Linear if start else _convolution
        self.adapter = nn.Identity() if widths[0] == widths[1] else made(*widths)

    def forward(self, step: Step) -> RegionOutputs:
        """For all images' shared regions, in order."""
        found = read_tap(step.student, self.place, step.features, step.outputs)
        if not self.start:
            return self.teacher.read_regions([self.adapter(x) for x in found], [r.boxes for r in step.regions])
        vectors = found[0] if step.region_rows is None else found[0][step.region_rows]
        return self.teacher.resume_regions(self.adapter(vectors), start=self.start)

    def __str__(self) -> str:
        between = "" if isinstance(self.adapter, nn.Identity) else f", {type(self.adapter).__name__} between"
        place = f"fc{self.start - 1}" if self.start else "pyramid at its regions"
        return f"student {place}{between}, through the {self.teacher.title}'s box head"


@dataclass(frozen=True, eq=False)
class CrossAssistant:
    """An assistant's vectors of layer `start` - 1 at its regions, through the teacher's remaining layers.

    The assistant is a box head of the teacher's make on the student's pyramid, so nothing lies between.
    """

    name: str
    assistant: Assistant
    teacher: Teacher
    start: int
    needs: Needs

    def __call__(self, step: Step) -> RegionOutputs:
        prefix, _, _ = self.assistant.target_layer.rpartition("fc")
        (read,) = run_once(self.assistant, step).layers[f"{prefix}fc{self.start - 1}"]
        # Rectified already, which the teacher's layer does once more without effect.
        return self.teacher.resume_regions(read, start=self.start)

    def __str__(self) -> str:
        return f"{self.name} fc{self.start - 1}, through the {self.teacher.title}'s box head"


@dataclass(frozen=True, eq=False)
class TeacherRegions:
    """A two-stage teacher's own predictions at the regions that the student proposes."""

    teacher: Teacher
    needs: Needs

    def __call__(self, step: Step) -> RegionOutputs:
        with torch.no_grad():
            hidden = self.teacher.at(step.batch, [r.boxes for r in step.regions])
            return self.teacher.resume_regions(hidden[-1], start=len(hidden))

    def __str__(self) -> str:
        how = ", scaled" if self.teacher.own is not None else ""
        return f"{self.teacher.title} predictions at the same regions{how}"


def _convolution(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 1)
