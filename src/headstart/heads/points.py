"""What RTMDet's and YOLOX's heads share: a point per cell, layers for each level, assignment by predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.heads.cells import CellOptions, flatten, flatten_level, shapes
from headstart.heads.dense import DenseHead
from headstart.heads.init import draw_normal
from headstart.heads.selection import Selection
from headstart.options import Count
from headstart.priors import place_points
from headstart.structures import DenseOutputs, Size

DETECTIONS = Selection(nms_pre=1000, score_threshold=0.01, iou_threshold=0.65, max_detections=100)
"""Both papers' NMS lets boxes overlap more than others'. They test at scores from 0.001 on, which is much slower."""


@dataclass(frozen=True, kw_only=True)
class LevelOptions(CellOptions):
    """Options of heads with layers for each level."""

    depth: Count = 2
    selection: Selection = DETECTIONS


class LevelHead(DenseHead):
    """A head of towers and 1x1 predictors per level whose boxes are read from the upper left corner of the cell.

    cls, reg  the predictors, one per level
    """

    reg: nn.ModuleList

    def predictors(self, outputs: int, *, bias: float | None = None, std: float | None = None) -> nn.ModuleList:
        """A 1x1 convolution to `outputs` channels for each level, as PyTorch starts it unless told otherwise."""
        layers = [nn.Conv2d(self.width, outputs, 1) for _ in self.strides]
        for layer in layers:
            if std is not None:
                draw_normal(layer, std)
            if bias is not None and layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
        return nn.ModuleList(layers)

    def classify(self, maps: list[Tensor]) -> list[Tensor]:
        """The class logits of each level, from the class tower's activated result."""
        return [layer(x) for layer, x in zip(self.classifiers().values(), maps)]

    def level_points(
        self, level: int, shape: Size, device: torch.device | str, step: Size | None = None, *, within: float = 0.0
    ) -> Tensor:
        """(H*W, 2) x, y pixels of the cells' upper left corners, or of what lies `within` them."""
        return place_points(*shape, step or self.strides[level], device, within=within)

    def all_points(self, outputs: DenseOutputs, within: float = 0.0) -> Tensor:
        """(N, 2), in the order of the flattened outputs."""
        device = outputs.cls[0].device
        levels = enumerate(shapes(outputs))
        return torch.cat([self.level_points(level, shape, device, within=within) for level, shape in levels])

    def boxes(self, outputs: DenseOutputs) -> Tensor:
        """What every point predicts: (B, N, 4) xyxy pixels, not clipped, in single precision; with gradient."""
        found = [
            self.decode_level(flatten_level(reg, 4).float(), level, (reg.shape[-2], reg.shape[-1]))
            for level, reg in enumerate(outputs.reg)
        ]
        return torch.cat(found, dim=1)

    def logits(self, outputs: DenseOutputs) -> Tensor:
        """(B, N, K) in single precision."""
        return flatten(outputs.cls, self.num_classes).float()
