"""The region proposal network (arXiv:1506.01497): a dense head of one class on one shared tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from headstart.assign.max_iou import IGNORED, MaxIoU
from headstart.assign.sample import choose
from headstart.boxes import encode_deltas
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import CellOptions, flatten
from headstart.heads.convention import CONVENTIONS, ConventionName
from headstart.heads.dense import run_tower
from headstart.heads.init import draw_normal
from headstart.heads.selection import Selection
from headstart.heads.tower import Tower
from headstart.losses.box import smooth_l1
from headstart.losses.classification import bce_with_logits
from headstart.losses.normalise import divisor
from headstart.options import Amount, Count, Depth, Positive, Positives
from headstart.structures import Assignment, CellIndex, DenseOutputs, Features, Size, Targets

DETECTING = Selection(nms_pre=1000, score_threshold=None, iou_threshold=0.7, max_detections=1000)
"""What the second stage reads when detecting; in training it samples from `selection.PROPOSALS`."""


@dataclass(frozen=True, kw_only=True)
class RPNOptions(CellOptions):
    """Options of an RPN.

    depth         blocks of its only tower (torchvision's second version has 2)
    anchor_scale  side of the anchors in strides
    anchor_sizes  or sides in pixels, the same on every level
    ratios        heights of anchors divided by their widths
    sample        how many anchors per image train, at most half of them objects
    beta          where the smooth L1 of the box loss turns into L1; 0: L1
    crossing      anchors that reach out of the image are trained too
    selection     what the second stage reads when detecting
    convention    whose weights these are
    """

    depth: Depth = 1
    anchor_scale: Positive = 8.0
    anchor_sizes: Positives | None = None
    ratios: Positives = (0.5, 1.0, 2.0)
    sample: Count = 256
    beta: Amount = 0.0
    crossing: bool = True
    selection: Selection = DETECTING
    convention: ConventionName = "mmdetection"


class RPNHead(AnchorHead):
    """Says "object or not" (label 0, background 1) for three anchors per cell.

    Losses: `cls` BCE and `box` L1 on deltas, divided by the number of sampled anchors. Cascade R-CNN smooths the L1
    (`beta` 1/9) and, in mmdetection, trains no anchor that reaches out of the image (`crossing` False).
    Checked against mmdetection (tests/parity, two_stage_faster and two_stage_cascade).
    """

    Options = RPNOptions

    def __init__(self, channels: int, strides: Sequence[int], options: RPNOptions = RPNOptions()) -> None:
        super().__init__(1, strides, options, CONVENTIONS[options.convention])
        self.make_anchors([options.anchor_scale], options.ratios, options.anchor_sizes)
        self.sample, self.beta, self.crossing = options.sample, options.beta, options.crossing
        self.assigner = MaxIoU(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3)
        self.tower = Tower(channels, self.width, options.depth)
        self.cls = nn.Conv2d(self.width, self.num_anchors, 1)
        self.reg = nn.Conv2d(self.width, self.num_anchors * 4, 1)
        draw_normal(self.cls, 0.01)
        draw_normal(self.reg, 0.01)

    def rebuild(self, channels: int, strides: Sequence[int], num_classes: int | None = None) -> Self:
        """A new RPN with the same options. It has one class, whatever `num_classes` says."""
        return type(self)(channels, strides, cast(RPNOptions, self.hparams))

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> DenseOutputs:
        return self.resume(features.pyramid, start=0, sizes=sizes, trace=trace)

    def resume(self, maps: list[Tensor], *, start: int, sizes: list[Size], trace: bool = False) -> DenseOutputs:
        """Enter the tower at block `start` with maps per level and go to the end.

        For `start` > 0 the maps [l] (B, width, H, W) are what block `start` - 1 gave before its activation. There is
        one tower, so the outputs have no `cls_trace` and `reg_trace`; its traced blocks are `tower/0` ... of `inner`.
        """
        last, traced = run_tower(self.tower, maps, start, trace)
        inner = {f"tower/{start + block}": levels for block, levels in enumerate(traced)}
        return DenseOutputs([self.cls(x) for x in last], [self.reg(x) for x in last], None, sizes, inner=inner)

    def tap_names(self) -> list[str]:
        return [*(f"tower/{block}" for block in range(len(self.tower))), *super().tap_names()]

    def usable(self, anchors: Tensor, cells: CellIndex, size: Size) -> Tensor:
        """(N,) bool; without `crossing`, anchors (N, 4) that reach out of an image of `size` are not."""
        usable = super().usable(anchors, cells, size)
        if self.crossing:
            return usable
        height, width = size
        return usable & (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2] < width) & (anchors[:, 3] < height)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Every anchor's answer, of which only a random sample of each labelled image keeps its weight."""
        blank = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
        every = super().assign(outputs, blank)
        kept = torch.zeros_like(every.weight)
        for image, positive in enumerate(every.positive):
            if not targets[image].labelled:  # nothing is drawn for it either
                continue
            matched = torch.where(every.weight[image] > 0, positive.long() - 1, IGNORED)
            kept[image, torch.cat(choose(matched, self.sample, 0.5))] = 1.0
        return Assignment(every.labels, every.boxes, every.positive & (kept > 0), kept)

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars."""
        positives = assignment.positive.sum(dim=1)
        count = assignment.weight.sum() + (positives == 0).sum()  # an image without objects counts one more, as there
        count = divisor(count)
        goal = (assignment.labels == 0).float()
        cls = bce_with_logits(flatten(outputs.cls, 1)[..., 0].float(), goal, assignment.weight)
        image, row = assignment.positive.nonzero(as_tuple=True)
        deltas = encode_deltas(self.all_anchors(outputs)[row], assignment.boxes[image, row])
        box = smooth_l1(flatten(outputs.reg, 4)[image, row].float(), deltas, self.beta)
        return {"cls": cls / count, "box": box / count}
