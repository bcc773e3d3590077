"""How far two sets of dense predictions of one kind are apart: the losses of CrossKD and of plain mimicking."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from headstart.boxes import aligned_giou, aligned_iou, centreness, encode_distances
from headstart.cached_tensor import cached_tensor
from headstart.classmap import LEFT_OUT, ClassMap
from headstart.heads.cells import flatten, flatten_level, shapes
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.protocol import Head, dense_outputs
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.criteria.soft_labels import divergence, soft_focal
from headstart.methods.step import Step
from headstart.priors import index_cells, valid_flags
from headstart.structures import DenseOutputs

BoxDistance = Literal["giou", "iou_log", "distribution"]


class DensePredictions:
    """Two outputs of one dense head, `head`: the student's features through it, and the teacher's own.

    classes  cls    quality focal loss with the teacher's probabilities as soft labels (beta 1), of the classes that the
                    student's data has, over all priors
    boxes    box    of every prior, weighted by the teacher's largest probability w of these classes: 1 - GIoU of the
                    decoded boxes ("giou"), -log IoU ("iou_log"), or the divergence of the four edges' distributions
                    ("distribution", GFL), their mean
    quality         binary cross-entropy with the teacher's quality (centreness), weighted as the boxes are

    Of a head with an objectness (YOLOX), whose classes mean nothing where there is no object, the class term is
    weighted by the teacher's objectness, w is the largest class probability times it, and the quality, which is the
    objectness then, is compared at every prior that counts.

    A prior counts if it lies in its image (padded to a multiple of 32) and, where student and teacher have the same
    priors, if the student's own assignment does not ignore it.

    constants    of `cls`, `box` and, if it is to be compared, `quality`
    confidence   what the box term is divided by: the sum of w (True), or what the class term is divided by (False)
    region       "released": as above. "uniform": every prior of the map counts, and w is 1, as the paper writes it
    floor        the least that a term is divided by

    `cls` is divided by `normaliser`: the number of the student's positives, at least one per image; in a pair of FCOS
    heads, by the sum of the positives' centreness.
    Source: CrossKD (arXiv:2306.11369) and its released code; tests/parity, crosskd_*.
    """

    def __init__(
        self,
        head: DenseHead,
        student: Head | None,
        classes: ClassMap,
        constants: dict[str, float],
        box: BoxDistance,
        *,
        confidence: bool,
        region: Literal["released", "uniform"] = "released",
        floor: float = 1.0,
    ) -> None:
        self.head, self.student, self.classes = head, student, classes
        self.terms, self.box, self.confidence = constants, box, confidence
        self.region, self.floor = region, floor
        self.same_priors = (
            student is not None
            and student.num_anchors == head.num_anchors
            and list(student.strides) == list(head.strides)[: len(student.strides)]
        )
        self.fcos = student if isinstance(student, FCOSHead) and isinstance(head, FCOSHead) else None

    def __call__(self, source: DenseOutputs, target: DenseOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `cls`, `box` and, if it has a constant, `quality`; gradients reach `source` alone."""
        head = self.head
        levels = len(source.cls)
        own = self._pick(flatten(source.cls, head.num_classes).float())
        goal = self._pick(flatten(target.cls[:levels], head.num_classes).float()).detach()
        sure = goal.amax(dim=-1).sigmoid()
        if self.region == "uniform":
            mask = felt = sure = torch.ones_like(sure)
        else:
            mask = felt = self._mask(source, step)
            if head.objectness:
                felt = mask * flatten((target.quality or [])[:levels], 1)[..., 0].float().sigmoid()
            sure = sure * felt
        count = self.normaliser(step)
        found = {"cls": soft_focal(own.flatten(0, 1), goal.flatten(0, 1), felt.flatten()) / count}
        total = mean_over_ranks(sure.sum()).clamp(min=1e-6) if self.confidence else count
        found["box"] = (self._boxes(source, target) * sure).sum() / total
        if "quality" in self.terms:
            found["quality"] = self._quality(source, target, mask if head.objectness else sure, step) / count
        return found

    def normaliser(self, step: Step) -> Tensor:
        """What the class term is divided by: see above. Agreed between processes; at least `floor` for FCOS."""
        assignment = step.assignment
        if self.fcos is not None:
            image, row = assignment.positive.nonzero(as_tuple=True)
            points = all_points(self.fcos, dense_outputs(step.outputs))
            centred = centreness(encode_distances(points[row], assignment.boxes[image, row]))
            return mean_over_ranks(centred.sum()).clamp(min=self.floor)
        return mean_over_ranks(assignment.positive.sum(dim=1).clamp(min=1).sum())

    def _pick(self, logits: Tensor) -> Tensor:
        """The columns (..., K_t) of the classes that the student's data has."""
        if self.classes.identical:
            return logits
        kept = [row for row, number in enumerate(self.classes.goal) if number != LEFT_OUT]
        return logits.index_select(-1, cached_tensor(kept, torch.int64, logits.device))

    def _mask(self, outputs: DenseOutputs, step: Step) -> Tensor:
        """(B, N) float: 1 where a prior counts."""
        if self.same_priors:
            return step.assignment.weight[
                :, : sum(m.shape[-2] * m.shape[-1] for m in outputs.cls) * self.head.num_anchors
            ]
        cells = index_cells(shapes(outputs), self.head.num_anchors, outputs.cls[0].device)
        return torch.stack([valid_flags(cells, self.head.strides, size) for size in step.batch.sizes]).float()

    def _boxes(self, source: DenseOutputs, target: DenseOutputs) -> Tensor:
        """(B, N): how far apart the boxes of each prior are."""
        head, levels = self.head, len(source.reg)
        codes = [flatten(outputs.reg[:levels], head.code_size).float() for outputs in (source, target)]
        if self.box == "distribution":
            own, goal = (code.unflatten(-1, (4, -1)) for code in codes)
            return divergence(own, goal).mean(dim=-1)
        own, goal = decode_all(head, source), decode_all(head, target, levels).detach()
        if self.box == "iou_log":
            return -aligned_iou(own, goal)[0].clamp(min=1e-6).log()
        return 1 - aligned_giou(own, goal)

    def _quality(self, source: DenseOutputs, target: DenseOutputs, weight: Tensor, step: Step) -> Tensor:
        """The summed cross-entropy of the qualities: of the student's positives where the priors are the same.

        `weight` (B, N) is that of every prior in other cases, and where the quality is an objectness.
        """
        own, goal = (
            flatten((outputs.quality or [])[: len(source.cls)], 1)[..., 0].float() for outputs in (source, target)
        )
        if self.same_priors and not self.head.objectness:
            weight = step.assignment.positive[:, : own.shape[1]].float()
        effort = functional.binary_cross_entropy_with_logits(own, goal.detach().sigmoid(), reduction="none")
        return (effort * weight).sum()


def all_points(head: FCOSHead, outputs: DenseOutputs) -> Tensor:
    """The points of every cell: (N, 2) x, y pixels, in the order of the flattened outputs."""
    device = outputs.cls[0].device
    levels = enumerate(zip(shapes(outputs), head.steps(outputs)))
    return torch.cat([head.level_points(level, shape, device, step) for level, (shape, step) in levels])


def decode_all(head: DenseHead, outputs: DenseOutputs, levels: int | None = None) -> Tensor:
    """The boxes of every prior of the first `levels` levels: (B, N, 4) xyxy pixels, not clipped; with gradient."""
    steps = head.steps(outputs)
    found = [
        head.decode_level(
            flatten_level(reg, head.code_size).float(), level, (reg.shape[-2], reg.shape[-1]), steps[level]
        )
        for level, reg in enumerate(outputs.reg[:levels])
    ]
    return torch.cat(found, dim=1)
