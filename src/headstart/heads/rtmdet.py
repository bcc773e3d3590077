"""RTMDet's head (arXiv:2212.07784)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from headstart.assign.assignment import collect_assignment
from headstart.assign.dynamic import SoftLabel
from headstart.boxes import aligned_iou, decode_distances
from headstart.csp import RTMDET_NORM
from headstart.heads.init import PRIOR_BIAS
from headstart.heads.points import LevelHead, LevelOptions
from headstart.heads.tower import LevelTower
from headstart.losses.box import giou
from headstart.losses.classification import quality_focal
from headstart.losses.normalise import mean_over_ranks
from headstart.priors import valid_flags
from headstart.structures import Assignment, DenseOutputs, Size, Targets

START = 1.5
"""Strides from the point to each side of the boxes that linear distances start from."""


@dataclass(frozen=True, kw_only=True)
class RTMDetOptions(LevelOptions):
    """Options of RTMDet's head.

    exponential  distances are exp of what the layer gives (sizes m to x); else what it gives itself (tiny and s)
    """

    exponential: bool = True


class RTMDetHead(LevelHead):
    """A point per cell, its upper left corner, and the distances to four sides; the class score is also the quality.

    The towers' convolutions are shared by the levels, their batch norms and the 1x1 predictors are not. Outputs' `reg`
    are distances in pixels, with linear distances also negative ones.

    Every object trains the points that find it best (`SoftLabel`). Losses: `cls` quality focal towards the IoU of the
    point's box, and `box` twice GIoU weighted by that IoU; both divided by the sum of these IoUs, at least 1.
    Checked against mmdetection (tests/parity, dense_rtmdet and dense_rtmdet_exp), but for the start of linear
    distances: 1.5 strides to each side, not 0. Boxes without extent overlap nothing, and the IoU is both the weight of
    the box loss and the target of the classes.
    """

    Options = RTMDetOptions

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: RTMDetOptions = RTMDetOptions()
    ) -> None:
        tower = partial(
            LevelTower, channels, options.width, options.depth, len(strides), RTMDET_NORM, shared=True, std=0.01
        )
        super().__init__(num_classes, channels, strides, options, tower=tower)
        self.exponential = options.exponential
        self.assigner = SoftLabel()
        self.cls = self.predictors(num_classes, bias=PRIOR_BIAS, std=0.01)
        self.reg = self.predictors(4, bias=0.0 if options.exponential else START, std=0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], None]:
        """As for every dense head; distances in pixels are in single precision: exp of half precision overflows."""
        raw = [layer(x).float() for layer, x in zip(self.reg, reg)]
        distances = [(x.exp() if self.exponential else x) * stride for x, stride in zip(raw, self.strides)]
        return self.classify(cls), distances, None

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Distances (..., H*W, 4) of left, top, right and bottom side from the points -> boxes, not clipped."""
        return decode_distances(self.level_points(level, shape, reg.device, step), reg)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """By the outputs themselves. Points beyond an image's own padding are not trained."""
        points, strides, cells = self.all_points(outputs), self.row_strides(outputs), self.cells(outputs)
        logits, boxes = self.logits(outputs), self.boxes(outputs)
        matched = [
            self.assigner(points, strides, logits[image], boxes[image], target, valid_flags(cells, self.strides, size))
            for image, (target, size) in enumerate(zip(targets, outputs.sizes))
        ]
        return collect_assignment(matched, targets, self.num_classes)

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars."""
        logits = self.logits(outputs)
        image, row = assignment.positive.nonzero(as_tuple=True)
        found, truth = self.boxes(outputs)[image, row], assignment.boxes[image, row]
        quality, _ = aligned_iou(found.detach(), truth)
        total = mean_over_ranks(quality.sum()).clamp(min=1)
        rows = image * assignment.labels.shape[1] + row
        cls = quality_focal(
            logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten(), rows, quality
        )
        return {"cls": cls / total, "box": 2 * giou(found, truth, quality) / total}
