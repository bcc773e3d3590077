"""What ATSS and GFL share: one square anchor per cell, assigned by an IoU threshold per object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.assign.atss import ATSS
from headstart.heads.anchor import AnchorHead
from headstart.heads.dense import Selection
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.heads.tower import Tower
from headstart.structures import Targets

DETECTIONS = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.6, max_detections=100)
"""Both papers' NMS lets boxes overlap a little more than RetinaNet's."""


class SingleAnchorHead(AnchorHead):
    """Two towers with GroupNorm and a learned factor per level for the box code; anchors are `anchor_scale` strides."""

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        *,
        width: int = 256,
        depth: int = 4,
        anchor_scale: float = 8.0,
        code_size: int = 4,
        selection: Selection = DETECTIONS,
    ) -> None:
        super().__init__(num_classes, strides, selection, [anchor_scale], [1.0])
        self.width, self.code_size = width, code_size
        self.hparams = {"width": width, "depth": depth, "anchor_scale": anchor_scale, "selection": selection}
        self.assigner = ATSS()
        self.cls_tower = Tower(channels, width, depth, norm=True)
        self.reg_tower = Tower(channels, width, depth, norm=True)
        self.cls = nn.Conv2d(width, num_classes, 3, padding=1)
        self.reg = nn.Conv2d(width, code_size, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in self.strides)
        draw_normal(self.cls, 0.01, PRIOR_BIAS)
        draw_normal(self.reg, 0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        codes = [self.reg(x).float() * scale for x, scale in zip(reg, self.scales)]
        return [self.cls(x) for x in cls], codes, None

    def match(self, anchors: Tensor, counts: list[int], target: Targets, usable: Tensor) -> Tensor:
        return self.assigner(anchors, counts, target, usable)
