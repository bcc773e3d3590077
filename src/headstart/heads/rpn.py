"""The region proposal network (arXiv:1506.01497): a dense head of one class on one shared tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.assign.max_iou import IGNORED, MaxIoU
from headstart.assign.sample import choose
from headstart.boxes import encode_deltas
from headstart.heads.anchor import AnchorHead
from headstart.heads.convention import OWN, Convention
from headstart.heads.dense import Selection, flatten, run_tower
from headstart.heads.init import draw_normal
from headstart.heads.tower import Tower
from headstart.losses.box import smooth_l1
from headstart.losses.classification import bce_with_logits
from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Assignment, CellIndex, DenseOutputs, Size, Targets

DETECTING = Selection(nms_pre=1000, score_threshold=None, iou_threshold=0.7, max_detections=1000)
"""What the second stage reads when detecting; in training it samples from `dense.PROPOSALS`."""


class RPNHead(AnchorHead):
    """Says "object or not" (label 0, background 1) for three anchors per cell.

    A step trains `sample` anchors per image, at most half of them objects. Losses: `cls` BCE and `box` L1 on deltas,
    divided by the number of sampled anchors. `depth` is the tower's (1; torchvision's v2 has 2). Anchors are
    `anchor_scale` strides wide, or have `anchor_sizes` (pixels) on every level. Cascade R-CNN smooths the L1 (`beta`
    1/9) and, in mmdetection, trains no anchor that reaches out of the image (`crossing` False).
    Checked against mmdetection (tests/parity, two_stage_faster and two_stage_cascade).
    """

    def __init__(
        self,
        channels: int,
        strides: Sequence[int],
        *,
        width: int = 256,
        depth: int = 1,
        anchor_scale: float = 8.0,
        anchor_sizes: Sequence[float] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        sample: int = 256,
        beta: float = 0.0,
        crossing: bool = True,
        selection: Selection = DETECTING,
        convention: Convention = OWN,
    ) -> None:
        super().__init__(1, strides, selection, [anchor_scale], ratios, sizes=anchor_sizes, convention=convention)
        self.sample, self.beta, self.crossing = sample, beta, crossing
        self.assigner = MaxIoU(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3)
        self.tower = Tower(channels, width, depth)
        self.cls = nn.Conv2d(width, self.num_anchors, 1)
        self.reg = nn.Conv2d(width, self.num_anchors * 4, 1)
        draw_normal(self.cls, 0.01)
        draw_normal(self.reg, 0.01)

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        trace: bool = False,
    ) -> DenseOutputs:
        """As for every dense head; the two branches share one tower, so `cls_maps` and `reg_maps` are the same maps."""
        maps, traced = run_tower(self.tower, cls_maps, start, trace)
        return DenseOutputs(*self.predict(maps, maps), sizes, traced, traced)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], None]:
        return [self.cls(x) for x in cls], [self.reg(x) for x in reg], None

    def usable(self, anchors: Tensor, cells: CellIndex, size: Size) -> Tensor:
        usable = super().usable(anchors, cells, size)
        if self.crossing:
            return usable
        height, width = size
        return usable & (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2] < width) & (anchors[:, 3] < height)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Every anchor's answer, of which only a random sample of each image keeps its weight."""
        blank = [Targets(t.boxes, torch.zeros_like(t.labels), t.ignored) for t in targets]
        every = super().assign(outputs, blank)
        kept = torch.zeros_like(every.weight)
        for image, positive in enumerate(every.positive):
            matched = torch.where(every.weight[image] > 0, positive.long() - 1, IGNORED)
            kept[image, torch.cat(choose(matched, self.sample, 0.5))] = 1.0
        return Assignment(every.labels, every.boxes, every.positive & (kept > 0), kept)

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars."""
        positives = assignment.positive.sum(dim=1)
        count = assignment.weight.sum() + (positives == 0).sum()  # an image without objects counts one more, as there
        count = mean_over_ranks(count)
        goal = (assignment.labels == 0).float()
        cls = bce_with_logits(flatten(outputs.cls, 1)[..., 0].float(), goal, assignment.weight)
        image, row = assignment.positive.nonzero(as_tuple=True)
        deltas = encode_deltas(self.all_anchors(outputs)[row], assignment.boxes[image, row])
        box = smooth_l1(flatten(outputs.reg, 4)[image, row].float(), deltas, self.beta)
        return {"cls": cls / count, "box": box / count}
