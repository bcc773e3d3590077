"""Pseudo-labels: what the teacher finds becomes ground truth, as in data distillation (arXiv:1712.04440)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headstart.boxes import pairwise_iof, pairwise_iou
from headstart.classmap import ClassMap
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.methods.guidance import Guidance, Row, demand_teacher
from headstart.methods.step import Step
from headstart.options import Share
from headstart.structures import Detections, ImageBatch, Targets
from headstart.teachers.base import Teacher

UNDECIDED = 0.5
"""The threshold of every class until those of `threshold: auto` were chosen."""

INSIDE = 0.5
"""A detection of which more than this share lies in an ignored box of its class is dropped."""


@dataclass(frozen=True)
class PseudoOptions:
    """What `pseudo` can be told.

    threshold  score from which a detection of the teacher becomes a label. "auto": for each class the one with the
               best F1 on the run's validation images, chosen before training and kept in the checkpoint
    targets    "add": beside the ground truth; "replace": in its place (ignored boxes stay)
    on         "all" images, or only the "unlabelled" ones of `data.unlabelled`
    overlap    IoU from which a detection is the object that a label of its class stands for already, and is dropped
    soft       the score is the weight of the object's priors in the loss of the classes; dense students only
    """

    threshold: Share | Literal["auto"] = "auto"
    targets: Literal["add", "replace"] = "add"
    on: Literal["all", "unlabelled"] = "all"
    overlap: Share = 0.5
    soft: bool = False


def pseudo(student: Detector, teachers: Sequence[Teacher], options: PseudoOptions) -> list[Guidance]:
    """The teacher's detections are labels, beside the ground truth or in its place; they change what is to be found.

    The student's own losses are made of these labels, and so are those of everything beside it in the same lane, such
    as HEAD's assistants. There is no term of its own. An image without labels becomes a labelled one.
    """
    demand_teacher("pseudo", teachers)
    if len(teachers) > 1:
        raise UserError(
            f"method pseudo takes its labels from one teacher, not {len(teachers)}: say which by teachers: [NAME]"
        )
    if options.targets == "replace" and options.on == "unlabelled":
        raise UserError("method pseudo: images without labels have none to replace; leave out targets, or set on=all")
    if options.soft and not isinstance(student.head, DenseHead):
        raise UserError(
            "method pseudo: soft weighs the priors of a dense head, and this student's losses know no such weights; "
            "leave it out"
        )
    return [PseudoLabels(teachers[0], teachers[0].match(student.classes), options)]


class PseudoLabels(Guidance):
    """Puts a teacher's detections among the targets.

    thresholds  (K,) least score of each of the student's classes; NaN until chosen (`decide`), which counts as 0.5. A
                run chooses them before it checks anything
    """

    name = "pseudo"
    thresholds: Tensor

    def __init__(self, teacher: Teacher, classes: ClassMap, options: PseudoOptions) -> None:
        super().__init__()
        self.teacher, self.classes, self.options = teacher, classes, options
        start = torch.nan if options.threshold == "auto" else float(options.threshold)
        self.register_buffer("thresholds", torch.full((len(classes.student),), start))

    @property
    def undecided(self) -> bool:
        """Whether thresholds are still to be chosen."""
        return bool(self.thresholds.isnan().any())

    def decide(self, thresholds: Sequence[float]) -> None:
        """From now on these are the least scores of the student's K classes, each 0..1."""
        self.thresholds.copy_(torch.tensor(thresholds))

    @torch.no_grad()
    def relabel(self, batch: ImageBatch, targets: list[Targets]) -> list[Targets]:
        least = self.thresholds.nan_to_num(UNDECIDED)
        found = [self.classes.detections(image) for image in self.teacher.detections(batch)]
        kept = [image[image.scores >= least[image.labels]] for image in found]
        return [self._join(*image) for image in zip(targets, kept)]

    def forward(self, step: Step) -> dict[str, Tensor]:
        """No term: its labels are in the student's own losses."""
        return {}

    def monitors(self, step: Step) -> dict[str, Tensor]:
        """`pseudo/objects`: how many objects the student is to find, per image with labels."""
        counts = [(~target.ignored).sum() for target in step.targets if target.labelled]
        if not counts:
            return {"pseudo/objects": torch.zeros((), device=step.batch.pixels.device)}
        return {"pseudo/objects": torch.stack(counts).float().mean()}

    def describe(self) -> list[Row]:
        low, high = self.thresholds.nan_to_num(UNDECIDED).aminmax()
        score = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}, by class"
        place = "beside" if self.options.targets == "add" else "in place of"
        where = "" if self.options.on == "all" else " of images without labels"
        weight = "its score, for the classes" if self.options.soft else ""
        return [
            Row(f"{self.teacher.title} detections", f"{place} the ground truth{where}", f"score >= {score}", weight)
        ]

    def _join(self, target: Targets, found: Detections) -> Targets:
        if target.labelled and self.options.on == "unlabelled":
            return target
        own = target if self.options.targets == "add" else target[target.ignored]
        fresh = found[~self._stands_already(own, found)]
        weights = None
        if self.options.soft or own.weights is not None:
            scores = fresh.scores.float()
            before = torch.ones_like(own.boxes[:, 0]) if own.weights is None else own.weights
            weights = torch.cat([before, scores if self.options.soft else torch.ones_like(scores)])
        return Targets(
            torch.cat([own.boxes, fresh.boxes.to(own.boxes)]),
            torch.cat([own.labels, fresh.labels]),
            torch.cat([own.ignored, torch.zeros_like(fresh.labels, dtype=torch.bool)]),
            labelled=True,
            weights=weights,
        )

    def _stands_already(self, own: Targets, found: Detections) -> Tensor:
        """(N,) bool: which detections a label of the same class stands for, or an ignored box of it contains."""
        if not len(own) or not len(found):
            return torch.zeros_like(found.labels, dtype=torch.bool)
        boxes = found.boxes.to(own.boxes)
        same = found.labels[:, None] == own.labels
        covered = (pairwise_iou(boxes, own.boxes) >= self.options.overlap) & ~own.ignored
        covered |= (pairwise_iof(boxes, own.boxes) > INSIDE) & own.ignored
        return (same & covered).any(dim=1)
