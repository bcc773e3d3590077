"""What ATSS and GFL share: one square anchor per cell, assigned by an IoU threshold per object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.assign.atss import ATSS
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import CellOptions
from headstart.heads.dense import DenseHead
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.heads.selection import Selection
from headstart.options import Positive
from headstart.structures import Targets

DETECTIONS = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.6, max_detections=100)
"""Both papers' NMS lets boxes overlap a little more than RetinaNet's."""


@dataclass(frozen=True, kw_only=True)
class SingleAnchorOptions(CellOptions):
    """Options of heads with one square anchor per cell.

    anchor_scale  the anchor's side in strides
    """

    anchor_scale: Positive = 8.0
    selection: Selection = DETECTIONS


class SingleAnchorHead(AnchorHead, DenseHead):
    """Two towers with GroupNorm and a learned factor per level for the box code, of `code_size` numbers."""

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        options: SingleAnchorOptions,
        *,
        code_size: int = 4,
    ) -> None:
        super().__init__(num_classes, channels, strides, options, norm=True)
        self.make_anchors([options.anchor_scale], [1.0])
        self.code_size = code_size
        self.assigner = ATSS()
        self.cls = nn.Conv2d(self.width, num_classes, 3, padding=1)
        self.reg = nn.Conv2d(self.width, code_size, 3, padding=1)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in self.strides)
        draw_normal(self.cls, 0.01, PRIOR_BIAS)
        draw_normal(self.reg, 0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """As for every dense head; the box code, in single precision, is scaled level by level."""
        codes = [self.reg(x).float() * scale for x, scale in zip(reg, self.scales)]
        return [self.cls(x) for x in cls], codes, None

    def match(self, anchors: Tensor, counts: list[int], target: Targets, usable: Tensor) -> Tensor:
        """(N,): ATSS chooses on every level apart, so it must know how many anchors each has."""
        return self.assigner(anchors, counts, target, usable)
