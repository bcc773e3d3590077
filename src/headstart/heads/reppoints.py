"""RepPoints' head (arXiv:1904.11490): an object is a set of nine points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.assign.assignment import collect_assignment
from headstart.assign.max_iou import MaxIoU
from headstart.assign.points import NearestPoints
from headstart.heads.cells import CellOptions, flatten, shapes
from headstart.heads.deformable import TAPS, DeformableConv, base_taps
from headstart.heads.dense import DenseHead, run_tower
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.losses.box import smooth_l1
from headstart.losses.classification import focal
from headstart.losses.normalise import divisor
from headstart.options import Depth, Positive
from headstart.priors import place_points, valid_flags
from headstart.structures import Assignment, DenseOutputs, Size, Targets

INITIAL_WEIGHT = 0.5
TOLERANCE = 0.11
"""Error, in units of `point_scale` strides, up to which the box losses are squared."""


@dataclass(frozen=True, kw_only=True)
class RepPointsOptions(CellOptions):
    """Options of RepPoints' head.

    point_scale  size of the objects of a level, in strides (up to twice that)
    norm         GroupNorm in the towers
    """

    depth: Depth = 3
    point_scale: Positive = 4.0
    norm: bool = True


class RepPointsHead(DenseHead):
    """Nine points per cell in two stages: the first are moved by the second, which reads the map at them.

    Both `earlier[0]` and `reg` of the outputs are points: dy and dx of each in strides from the cell's upper left
    corner. Their box has its centre at their mean and half sides of their standard deviation times a learned factor
    (the moment transform). Classes and second stage are deformable convolutions at the first stage's points, to which
    only a tenth of their gradient flows back.

    The first stage trains the point nearest to each object, on the level of its size (`point_scale` strides and up to
    twice that); the second those whose first box overlaps it. Losses: `cls` focal, `box` and half of `initial_box`
    smooth L1 of the corners in units of `point_scale` strides, each divided by the positives of its stage (at least
    one per image). Checked against mmdetection (tests/parity, dense_reppoints).
    """

    Options = RepPointsOptions
    code_size = 2 * TAPS
    layer_names = (*DenseHead.layer_names, "initial_conv", "cls_conv", "reg_conv")
    taps: Tensor

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: RepPointsOptions = RepPointsOptions()
    ) -> None:
        super().__init__(num_classes, channels, strides, options, norm=options.norm)
        width, self.point_scale = options.width, options.point_scale
        self.nearest = NearestPoints(options.point_scale)
        self.assigner = MaxIoU(pos_iou=0.5, neg_iou=0.4, min_pos_iou=0.0)
        self.initial_conv = nn.Conv2d(width, width, 3, padding=1)
        self.initial = nn.Conv2d(width, self.code_size, 1)
        self.cls_conv, self.reg_conv = DeformableConv(width, width), DeformableConv(width, width)
        self.cls = nn.Conv2d(width, num_classes, 1)
        self.reg = nn.Conv2d(width, self.code_size, 1)
        self.moment = nn.Parameter(torch.zeros(2))
        self.register_buffer("taps", base_taps()[:, None, None], persistent=False)
        for conv in (self.initial_conv, self.cls_conv, self.reg_conv):
            draw_normal(conv, 0.01 * math.sqrt(256 / width))
        for conv, bias in ((self.initial, 0.0), (self.reg, 0.0), (self.cls, PRIOR_BIAS)):
            draw_normal(conv, 0.01, bias)

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        trace: bool = False,
        activated: bool = False,
    ) -> DenseOutputs:
        """As for every dense head. The first stage's points are `earlier`, traced inner layers `inner`.

        Points [l] (B, 18, H, W) are in single precision whatever the maps are.
        """
        cls, cls_trace = run_tower(self.cls_tower, cls_maps, start, trace, activated)
        reg, reg_trace = run_tower(self.reg_tower, reg_maps, start, trace, activated)
        first = [self.initial_conv(x) for x in reg]
        initial = [self.initial(functional.relu(x)).float() for x in first]
        offsets = [scale_gradient(points, 0.1) - self.taps for points in initial]
        scored = [self.cls_conv(x, moved) for x, moved in zip(cls, offsets)]
        second = [self.reg_conv(x, moved) for x, moved in zip(reg, offsets)]
        logits = [self.cls(functional.relu(x)) for x in scored]
        points = [self.reg(functional.relu(x)).float() + base.detach() for x, base in zip(second, initial)]
        inner = {"initial_conv": first, "cls_conv": scored, "reg_conv": second} if trace else {}
        return DenseOutputs(logits, points, None, sizes, cls_trace, reg_trace, earlier=(initial,), inner=inner)

    def layers(self, outputs: DenseOutputs) -> dict[str, list[Tensor]]:
        """The towers' and the three inner layers' activated results, [l] (B, width, H, W) each. Needs a trace."""
        inner = {name: [functional.relu(x) for x in maps] for name, maps in outputs.inner.items()}
        return super().layers(outputs) | inner

    def boxes(self, points: Tensor) -> Tensor:
        """The boxes of points (..., 18), as xyxy in strides from the cell's corner: (..., 4)."""
        places = points.unflatten(-1, (TAPS, 2)).flip(-1)
        centre = places.mean(dim=-2)
        variance = (places - centre[..., None, :]).square().sum(dim=-2) / (TAPS - 1)
        # Where all points lie in one place, the root has no gradient.
        spread = variance.clamp(min=1e-12).sqrt()
        half = spread * scale_gradient(self.moment, 0.01).exp()
        return torch.cat([centre - half, centre + half], dim=-1)

    def level_points(self, level: int, shape: Size, device: torch.device, step: Size | None = None) -> Tensor:
        """(H*W, 2) x, y pixels: the upper left corner of every cell."""
        return place_points(*shape, step or self.strides[level], device, within=0.0)

    def all_points(self, outputs: DenseOutputs) -> Tensor:
        """(N, 2), in the order of the flattened outputs."""
        device = outputs.cls[0].device
        return torch.cat([self.level_points(level, shape, device) for level, shape in enumerate(shapes(outputs))])

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Points (..., H*W, 18) in strides from their cells -> boxes (..., H*W, 4) in pixels."""
        corner = self.level_points(level, shape, reg.device, step).repeat(1, 2)
        return self.boxes(reg) * self.strides[level] + corner

    def first_boxes(self, outputs: DenseOutputs) -> Tensor:
        """The first stage's boxes, (B, N, 4) xyxy pixels, in the order of the flattened outputs."""
        boxes = self.boxes(flatten(outputs.earlier[0], self.code_size))
        return boxes * self.row_strides(outputs)[:, None] + self.all_points(outputs).repeat(1, 2)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """The second stage's assignment, by the IoU of the first stage's boxes, and the first stage's as `earlier`.

        Cells beyond an image's own padding are not trained.
        """
        points, strides, cells = self.all_points(outputs), self.row_strides(outputs), self.cells(outputs)
        usable = [valid_flags(cells, self.strides, size) for size in outputs.sizes]
        nearest = [self.nearest(points, strides, target, own) for target, own in zip(targets, usable)]
        matched = [self.assigner(*image) for image in zip(self.first_boxes(outputs), targets, usable)]
        second = collect_assignment(matched, targets, self.num_classes)
        return replace(second, earlier=(collect_assignment(nearest, targets, self.num_classes),))

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box", "initial_box"}: scalars."""
        logits = flatten(outputs.cls, self.num_classes).float()
        cls = focal(logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten())
        count = _count(assignment)
        box = self._corners(outputs, outputs.reg, assignment) / count
        (first,) = assignment.earlier
        initial = self._corners(outputs, outputs.earlier[0], first) / _count(first)
        return {"cls": cls / count, "box": box, "initial_box": INITIAL_WEIGHT * initial}

    def _corners(self, outputs: DenseOutputs, points: list[Tensor], assignment: Assignment) -> Tensor:
        """The box loss of one stage, before it is divided."""
        image, row = assignment.positive.nonzero(as_tuple=True)
        stride = self.row_strides(outputs)[row, None]
        found = self.boxes(flatten(points, self.code_size)[image, row].float())
        goal = (assignment.boxes[image, row] - self.all_points(outputs)[row].repeat(1, 2)) / stride
        return smooth_l1(found / self.point_scale, goal / self.point_scale, TOLERANCE)


def scale_gradient(x: Tensor, share: float) -> Tensor:
    """x of any shape itself, but only `share`, 0..1, of its gradient flows back."""
    return x * share + x.detach() * (1 - share)


def _count(assignment: Assignment) -> Tensor:
    """How many positives there are, at least one per image."""
    return divisor(assignment.positive.sum(dim=1).clamp(min=1).sum())
