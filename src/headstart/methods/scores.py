"""Where a detector sees objects: its score at every cell of its pyramid."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import Head, dense_outputs
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import RPNBasedHead, TwoStageOutputs
from headstart.methods.step import Step
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher, demand_same_cells


def scoring_head(head: Head) -> DenseHead | RPNHead | None:
    """What scores the cells: a dense head itself, the RPN of a two-stage one; None in a student that is not ours."""
    if isinstance(head, DenseHead):
        return head
    return head.rpn if isinstance(head, RPNBasedHead) else None


def has_scores(detector: Detector) -> bool:
    """Whether a detector scores its cells: all but students that are not ours (`detectors.custom`)."""
    return scoring_head(detector.head) is not None


@torch.no_grad()
def score_maps(head: DenseHead | RPNHead, outputs: DenseOutputs) -> list[Tensor]:
    """The score of every cell, the largest over classes and anchors: (B, 1, H, W) in 0..1 per level, float32.

    It is the probability of the likeliest class (of an RPN: that there is an object); quality does not count, unless it
    is an `objectness` (YOLOX), by which the class's is multiplied. Without gradient.

    Source: FRS (arXiv:2111.00674), repository duzhixing/FRS: the mask of its released code.
    """
    if not head.objectness:
        return [logits.float().amax(dim=1, keepdim=True).sigmoid() for logits in outputs.cls]
    every = zip(outputs.cls, outputs.quality or [], strict=True)
    found = []
    for logits, objectness in every:
        classes = logits.float().unflatten(1, (head.num_anchors, -1)).amax(dim=2).sigmoid()
        found.append((classes * objectness.float().sigmoid()).amax(dim=1, keepdim=True))
    return found


def student_scores(step: Step) -> list[Tensor]:
    """The student's own, made once in a step. Raises TypeError for a student without (`has_scores`)."""
    head = _demanded(step.student)
    return step.once("student scores", lambda: score_maps(head, student_outputs(step)))


def teacher_scores(teacher: Teacher, step: Step) -> list[Tensor]:
    """A teacher's, made once in a step."""
    head = _demanded(teacher.model)
    return step.once(("teacher scores", id(teacher)), lambda: score_maps(head, teacher_outputs(teacher, step)))


def teacher_outputs(teacher: Teacher, step: Step) -> DenseOutputs:
    """What a teacher says at cells, made once in a step: of a two-stage one its RPN, which alone runs, traced."""

    @torch.no_grad()
    def make() -> DenseOutputs:
        head = _demanded(teacher.model)
        if isinstance(head, RPNHead):
            demand_same_cells(teacher.own, teacher.title)
            pyramid = teacher.taps(step.batch, ["neck"])["neck"]
            return head.resume(pyramid, start=0, sizes=step.batch.sizes, trace=True)
        return dense_outputs(teacher.outputs(step.batch))

    return step.once(("teacher at cells", id(teacher)), make)


def student_outputs(step: Step) -> DenseOutputs:
    """What the student says at cells, of a two-stage one its RPN; with gradient. Raises TypeError as the scores do."""
    outputs = step.outputs
    return outputs.rpn if isinstance(outputs, TwoStageOutputs) else dense_outputs(outputs)


def _demanded(detector: Detector) -> DenseHead | RPNHead:
    head = scoring_head(detector.head)
    if head is None:
        raise TypeError(f"a {type(detector.head).__name__} has no scores of cells")
    return head
