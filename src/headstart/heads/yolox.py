"""YOLOX's head (arXiv:2107.08430)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from headstart.assign.assignment import collect_assignment
from headstart.assign.dynamic import SimOTA
from headstart.boxes import aligned_iou, centers
from headstart.csp import YOLOX_NORM
from headstart.heads.cells import flatten
from headstart.heads.init import PRIOR_BIAS
from headstart.heads.points import LevelHead, LevelOptions
from headstart.heads.tower import LevelTower
from headstart.losses.box import smooth_l1
from headstart.losses.classification import bce_with_logits
from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Assignment, DenseOutputs, Size, Targets

LARGEST = 1e4
"""Pixels that a side may have at most when it is decoded, so that a bad start cannot overflow."""

ASSIGNERS = {"yolox": SimOTA(), "mmdetection": SimOTA(radius=2.5, inside=True, eps=1e-7)}


@dataclass(frozen=True, kw_only=True)
class YOLOXOptions(LevelOptions):
    """Options of YOLOX's head.

    depthwise  the towers' convolutions look at each channel alone (YOLOX-nano)
    assigner   which of the two codes' rules decides what points may answer for an object
    """

    depthwise: bool = False
    assigner: Literal["yolox", "mmdetection"] = "yolox"


class YOLOXHead(LevelHead):
    """Towers and predictors for every level, a box and an objectness per cell, which are both read from the box tower.

    Outputs' `reg` is the code: the centre's place from the cell's corner in strides, and the logarithm of width and
    height in strides. Outputs' `quality` is the objectness: a detection's score is class times objectness.

    Every object trains the points that find it best (`SimOTA`). Losses: `objectness` BCE of all points, `cls` BCE of
    the positives' classes towards the IoU of their boxes, `box` 5 (1 - IoU^2) of the positives, and, while `extra_l1`,
    `l1` of their codes; all divided by the number of positives, at least 1.
    Checked against YOLOX and mmdetection (tests/parity, dense_yolox_megvii, dense_yolox, dense_yolox_depthwise).

    extra_l1  whether the L1 of the codes is a loss too: in the last part of the official training
    """

    Options = YOLOXOptions
    has_quality = True
    objectness = True

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: YOLOXOptions = YOLOXOptions()
    ) -> None:
        tower = partial(
            LevelTower,
            channels,
            options.width,
            options.depth,
            len(strides),
            YOLOX_NORM,
            shared=False,
            depthwise=options.depthwise,
        )
        super().__init__(num_classes, channels, strides, options, tower=tower)
        self.extra_l1 = False
        self.assigner = ASSIGNERS[options.assigner]
        self.cls = self.predictors(num_classes, bias=PRIOR_BIAS)
        self.reg = self.predictors(4)
        self.obj = self.predictors(1, bias=PRIOR_BIAS)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """As for every dense head; codes are in single precision: exp of half precision overflows."""
        codes = [layer(x).float() for layer, x in zip(self.reg, reg)]
        return self.classify(cls), codes, [layer(x) for layer, x in zip(self.obj, reg)]

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Codes (..., H*W, 4) -> boxes, not clipped."""
        stride = self.strides[level]
        centre = self.level_points(level, shape, reg.device, step) + reg[..., :2] * stride
        half = reg[..., 2:].clamp(max=math.log(LARGEST / stride)).exp() * stride / 2
        return torch.cat([centre - half, centre + half], dim=-1)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """By the outputs themselves. Points in the padding are background, as in the official codes."""
        points, strides = self.all_points(outputs, within=0.5), self.row_strides(outputs)
        logits, boxes = self.logits(outputs), self.boxes(outputs)
        objectness = flatten(outputs.quality or [], 1)[..., 0].float()
        matched = [
            self.assigner(points, strides, logits[image], objectness[image], boxes[image], target)
            for image, target in enumerate(targets)
        ]
        return collect_assignment(matched, targets, self.num_classes)

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box", "objectness"}, and "l1" while `extra_l1`: scalars."""
        count = mean_over_ranks(assignment.positive.sum()).clamp(min=1)
        objectness = flatten(outputs.quality or [], 1)[..., 0].float()
        image, row = assignment.positive.nonzero(as_tuple=True)
        truth = assignment.boxes[image, row]
        overlap, _ = aligned_iou(self.boxes(outputs)[image, row], truth)
        logits = self.logits(outputs)[image, row]
        goal = torch.zeros_like(logits)
        goal[torch.arange(len(row), device=row.device), assignment.labels[image, row]] = overlap.detach()
        losses = {
            "cls": bce_with_logits(logits, goal) / count,
            "box": 5 * (1 - overlap.square()).sum() / count,
            "objectness": bce_with_logits(objectness, assignment.positive.float(), assignment.weight) / count,
        }
        if self.extra_l1:
            codes = flatten(outputs.reg, 4)[image, row].float()
            losses["l1"] = smooth_l1(codes, self.encode(outputs, row, truth)) / count
        return losses

    def encode(self, outputs: DenseOutputs, rows: Tensor, boxes: Tensor) -> Tensor:
        """The codes (P, 4) of boxes (P, 4) at rows (P,) of the flattened outputs."""
        stride = self.row_strides(outputs)[rows, None]
        place = (centers(boxes) - self.all_points(outputs)[rows]) / stride
        return torch.cat([place, ((boxes[:, 2:] - boxes[:, :2]) / stride + 1e-8).log()], dim=1)
