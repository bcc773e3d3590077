"""What heads with anchors share: their priors, delta code and assignment by overlap (RetinaNet, RPN)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headstart.assign.answers import collect_answers
from headstart.assign.max_iou import MaxIoU
from headstart.boxes import decode_deltas
from headstart.heads.dense import DenseHead, Selection, shapes
from headstart.priors import base_anchors, inside, place_anchors
from headstart.structures import Assignment, DenseOutputs, PixelIndex, Size, Targets


class AnchorHead(DenseHead):
    """A dense head whose box code is (dx, dy, dw, dh) relative to anchors; `assigner` says who answers for what."""

    assigner: MaxIoU

    def __init__(
        self,
        num_classes: int,
        strides: Sequence[int],
        selection: Selection,
        scales: Sequence[float],
        ratios: Sequence[float],
    ) -> None:
        super().__init__(num_classes, strides, selection)
        self.anchors = len(scales) * len(ratios)
        for level, stride in enumerate(self.strides):
            self.register_buffer(f"base{level}", base_anchors(stride, scales, ratios), persistent=False)

    def level_anchors(self, level: int, shape: Size) -> Tensor:
        """All anchors of a level, (H*W*A, 4), in order (y, x, anchor)."""
        return place_anchors(getattr(self, f"base{level}"), *shape, self.strides[level])

    def all_anchors(self, outputs: DenseOutputs) -> Tensor:
        """(N, 4), in the order of the flattened outputs."""
        return torch.cat([self.level_anchors(level, shape) for level, shape in enumerate(shapes(outputs))])

    def decode_level(self, reg: Tensor, level: int, shape: Size) -> Tensor:
        return decode_deltas(self.level_anchors(level, shape), reg)

    def usable(self, anchors: Tensor, pixels: PixelIndex, size: Size) -> Tensor:
        """Which anchors (N,) of an image of `size` may be trained."""
        return inside(pixels, self.strides, size)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Labels and boxes of every anchor. Anchors beyond an image's own padding are not trained."""
        anchors, pixels = self.all_anchors(outputs), self.pixels(outputs)
        matched = [
            self.assigner(anchors, target, self.usable(anchors, pixels, size))
            for target, size in zip(targets, outputs.sizes)
        ]
        return collect_answers(matched, targets, self.num_classes)
