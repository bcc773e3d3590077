"""FCOS's head (arXiv:1904.01355), plain and with its later improvements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.assign.assignment import collect_assignment
from headstart.assign.center import CenterRange
from headstart.boxes import centreness, decode_distances, encode_distances
from headstart.heads.cells import CellOptions, flatten, shapes
from headstart.heads.convention import CONVENTIONS, ConventionName
from headstart.heads.dense import DenseHead
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.losses.box import giou, iou_log
from headstart.losses.classification import bce_with_logits, focal
from headstart.losses.normalise import mean_over_ranks
from headstart.options import Positive
from headstart.priors import place_points
from headstart.structures import Assignment, DenseOutputs, Size, Targets

BOX_LOSSES = {"iou": iou_log, "giou": giou}

Choice = TypeVar("Choice")


@dataclass(frozen=True, kw_only=True)
class FCOSOptions(CellOptions):
    """Options of FCOS's head.

    range_scale        the largest distance that each level but the last answers for, in strides
    convention         whose weights these are
    improved           all of the later improvements together; each of them alone is None (as `improved` says) or:
    normalised         distances in strides, rectified linearly; else in pixels, by exp
    centre_sampling    only points within 1.5 strides of an object's centre are its own; else all inside its box
    centreness_on_box  the centreness is read from the box tower; else from the class tower
    box_loss           "giou", else "iou"
    conv_bias          the towers' convolutions have a bias beside their norm
    """

    range_scale: Positive = 8.0
    convention: ConventionName = "mmdetection"
    improved: bool = False
    normalised: bool | None = None
    centre_sampling: bool | None = None
    centreness_on_box: bool | None = None
    box_loss: Literal["iou", "giou"] | None = None
    conv_bias: bool | None = None


class FCOSHead(DenseHead):
    """Two towers with GroupNorm, one point per cell, distances to the four sides, and a centreness.

    Outputs' `reg` are distances after exp (pixels), or rectified (strides) when normalised, in training and
    evaluation alike; `decode` multiplies by the stride.

    Losses: `cls` focal / positives, `box` IoU weighted by centreness / its sum, `quality` BCE / positives.
    Checked against mmdetection (tests/parity, dense_fcos and dense_fcos_tricks).
    """

    Options = FCOSOptions
    has_quality = True

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: FCOSOptions = FCOSOptions()
    ) -> None:
        width, improved = options.width, options.improved
        super().__init__(
            num_classes,
            channels,
            strides,
            options,
            norm=True,
            bias=_choose(options.conv_bias, improved),
            convention=CONVENTIONS[options.convention],
        )
        self.normalised = _choose(options.normalised, improved)
        self.centreness_on_box = _choose(options.centreness_on_box, improved)
        self.box_loss = BOX_LOSSES[_choose(options.box_loss, "giou" if improved else "iou")]
        radius = 1.5 if _choose(options.centre_sampling, improved) else None
        self.assigner = CenterRange(level_ranges(self.strides, options.range_scale), radius)
        self.cls = nn.Conv2d(width, num_classes, 3, padding=1)
        self.reg = nn.Conv2d(width, 4, 3, padding=1)
        self.centreness = nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in self.strides)
        for conv, bias in ((self.cls, PRIOR_BIAS), (self.reg, 0.0), (self.centreness, 0.0)):
            draw_normal(conv, 0.01, bias)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """As for every dense head; distances, at least 0, are in single precision: exp of half precision overflows."""
        distances = [self.reg(x).float() * scale for x, scale in zip(reg, self.scales)]
        distances = [functional.relu(d) if self.normalised else d.exp() for d in distances]
        quality = [self.centreness(x) for x in (reg if self.centreness_on_box else cls)]
        return [self.cls(x) for x in cls], distances, quality

    def level_points(self, level: int, shape: Size, device: torch.device, step: Size | None = None) -> Tensor:
        """(H*W, 2) x, y pixels."""
        return place_points(*shape, step or self.strides[level], device, within=self.convention.point)

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Distances (..., H*W, 4) of left, top, right and bottom side from the points -> boxes, not clipped."""
        reg = reg * self.strides[level] if self.normalised else reg
        return decode_distances(self.level_points(level, shape, reg.device, step), reg)

    def _points(self, outputs: DenseOutputs) -> tuple[Tensor, Tensor, Tensor]:
        """All points (N, 2) with their level (N,) and stride (N,)."""
        device = outputs.cls[0].device
        sizes = shapes(outputs)
        steps = self.steps(outputs)
        points = torch.cat([self.level_points(i, s, device, step) for i, (s, step) in enumerate(zip(sizes, steps))])
        level = torch.cat([torch.full((h * w,), i, device=device) for i, (h, w) in enumerate(sizes)])
        return points, level, self.row_strides(outputs)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Labels and boxes of every point; points in the padding are background, as in the official code."""
        points, level, strides = self._points(outputs)
        matched = [self.assigner(points, level, strides, target) for target in targets]
        return collect_assignment(matched, targets, self.num_classes)

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box", "quality"}: scalars."""
        points, _, strides = self._points(outputs)
        logits = flatten(outputs.cls, self.num_classes).float()
        count = mean_over_ranks(assignment.positive.sum()).clamp(min=1)
        cls = focal(logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten())

        image, row = assignment.positive.nonzero(as_tuple=True)
        unit = strides[row, None] if self.normalised else 1.0
        goal = encode_distances(points[row], assignment.boxes[image, row]) / unit
        centred = centreness(goal)
        total = mean_over_ranks(centred.sum()).clamp(min=1e-6)  # not 1, which ATSS has here
        place = points[row] / unit
        found = decode_distances(place, flatten(outputs.reg, 4)[image, row].float())
        box = self.box_loss(found, decode_distances(place, goal), centred)
        quality = bce_with_logits(flatten(outputs.quality or [], 1)[image, row, 0].float(), centred)
        return {"cls": cls / count, "box": box / total, "quality": quality / count}


def _choose(given: Choice | None, otherwise: Choice) -> Choice:
    return otherwise if given is None else given


def level_ranges(strides: Sequence[int], scale: float) -> list[tuple[float, float]]:
    """Which distances (pixels) each level answers for: up to `scale` strides, the first from -1, the last without end.

    Strides 8..128 and scale 8 give FCOS's 64, 128, 256, 512.
    """
    ends = [stride * scale for stride in strides[:-1]] + [1e8]
    return list(zip([-1.0, *ends[:-1]], ends))
