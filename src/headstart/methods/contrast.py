"""The contrastive term of G-DetKD: a box's vector in the student's head and in the teacher's (arXiv:2108.07482)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.boxes import pairwise_iou
from headstart.detectors.detector import Detector
from headstart.detectors.taps import tap_width
from headstart.heads.protocol import Head, as_dense
from headstart.methods.criteria.contrast import info_nce
from headstart.methods.guidance import Guidance, Row
from headstart.methods.pairing import read_cells, stride_factors
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap, spell
from headstart.methods.weight import Weight
from headstart.teachers.base import Teacher

WIDTH = 128
"""Of the space in which boxes are compared, at most."""

TEMPERATURE = 0.07

OVERLAP = 0.5
"""Boxes of one image that overlap by more are not each other's negatives."""


class BoxContrast(Guidance):
    """Each shared box is to be nearer to itself in the teacher's eyes than to the other boxes of the batch.

    InfoNCE at temperature 0.07 between what one projector makes of both sides' vectors. A two-stage head is read at the
    last fully connected layer of its (first) box head, a dense one at the last block of its class tower, at the cell of
    the student's head that the box came from; both activated. The student's vectors pass a linear layer first where
    widths differ. Ground-truth boxes have no cell and take part only where both heads read regions. Boxes of one image
    that overlap by an IoU of more than 0.5 are not each other's negatives.

    Source: G-DetKD (arXiv:2108.07482). Of it the memory of other processes' and earlier steps' boxes is left out:
    negatives are those of this process's batch. The width of the projector, 128, is ours.
    """

    def __init__(self, name: str, student: Detector, teacher: Teacher, needs: Needs, weight: Weight) -> None:
        super().__init__()
        own, theirs = student.head, teacher.model.head
        self.name, self.teacher, self.weight = name, teacher, weight
        self.place, self.teacher_place = last_layer(own), last_layer(theirs)
        self.needs = needs | StudentTap(self.place).needs
        self.factors = stride_factors(own.strides, theirs.strides) if theirs.predicts_at == "cells" else []
        widths = tap_width(student, self.place), tap_width(teacher.model, self.teacher_place)
        self.adapter = nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths)
        self.project = nn.Linear(widths[1], min(widths[1], WIDTH))
        self.widths = widths

    def forward(self, step: Step) -> dict[str, Tensor]:
        own, rows = self._student(step)
        goal, known = self._teacher(step)
        own, goal, rows = _common(own, rows, goal, known)
        projected = self.project(self.adapter(own)), self.project(goal)
        value = info_nce(*projected, self._left_out(step, rows), temperature=TEMPERATURE)
        return {self.name: self.weight(value, [goal], [own], step.progress)}

    def _student(self, step: Step) -> tuple[Tensor, Tensor]:
        """Vectors (N, D), and of which rows of all images' regions they are, (N,)."""
        found = StudentTap(self.place)(step)
        if step.student.head.predicts_at == "cells":
            vectors, traced, _ = read_cells(found, step.regions)
            return as_dense(step.student.head).activate(vectors), traced
        vectors = functional.relu(found[0] if step.region_rows is None else found[0][step.region_rows])
        return vectors, torch.arange(len(vectors), device=vectors.device)

    @torch.no_grad()
    def _teacher(self, step: Step) -> tuple[Tensor, Tensor]:
        if self.factors:
            maps = TeacherTap(self.teacher, self.teacher_place, activated=True)(step)
            vectors, traced, _ = read_cells(maps, step.regions, self.factors)
            return vectors, traced
        vectors = functional.relu(self.teacher.at(step.batch, [r.boxes for r in step.regions])[-1])
        return vectors, torch.arange(len(vectors), device=vectors.device)

    def _left_out(self, step: Step, rows: Tensor) -> Tensor:
        """(N, N) bool: boxes of one image that overlap."""
        image = torch.cat([torch.full_like(r.labels, i) for i, r in enumerate(step.regions)])[rows]
        boxes = torch.cat([r.boxes for r in step.regions])[rows]
        return (image[:, None] == image) & (pairwise_iou(boxes, boxes) > OVERLAP)

    def describe(self) -> list[Row]:
        between = "" if isinstance(self.adapter, nn.Identity) else f"linear {self.widths[0]} -> {self.widths[1]}, "
        return [
            Row(
                f"{self.teacher.title} {spell(self.teacher_place)} at shared boxes",
                f"student {spell(self.place)} at them",
                f"{between}projector to {self.project.out_features}",
                self.weight.text(),
            )
        ]

    def share(self, part: float) -> None:
        self.weight.share(part)


def last_layer(head: Head) -> str:
    """The place of the last layer before a head's classes."""
    return "cls_tower" if head.predicts_at == "cells" else head.tap_names()[-1]


def _common(own: Tensor, rows: Tensor, goal: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides' vectors of the rows that both have, and these rows."""
    mine, theirs = torch.isin(rows, known), torch.isin(known, rows)
    return own[mine], goal[theirs], rows[mine]
