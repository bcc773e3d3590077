"""What heads with anchors share: their priors, delta code and assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from headstart.assign.assignment import collect_assignment
from headstart.boxes import decode_deltas
from headstart.heads.cells import CellHead, shapes
from headstart.priors import base_anchors, place_anchors, valid_flags
from headstart.structures import Assignment, CellIndex, DenseOutputs, Size, Targets


class AnchorHead(CellHead):
    """A head whose box code is (dx, dy, dw, dh) relative to anchors, in units of `stds`.

    Its constructor calls `make_anchors`. `assigner(anchors, targets, usable)` says which ground truth every anchor
    answers for (`assign.max_iou`).
    """

    assigner: Callable[..., Tensor]
    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def make_anchors(
        self, scales: Sequence[float], ratios: Sequence[float], sizes: Sequence[float] | None = None
    ) -> None:
        """Makes the anchors of a cell, one for each side and ratio (height / width).

        `scales` are their sides in strides, or `sizes` in pixels, the same on every level.
        """
        self.num_anchors = len(scales if sizes is None else sizes) * len(ratios)
        for level, stride in enumerate(self.strides):
            unit, sides = (stride, scales) if sizes is None else (1, sizes)
            base = base_anchors(unit, sides, ratios, whole=self.convention.whole_anchors)
            self.register_buffer(f"base{level}", base, persistent=False)

    def level_anchors(self, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """All anchors of a level, (H*W*A, 4), in order (y, x, anchor)."""
        return place_anchors(getattr(self, f"base{level}"), *shape, step or self.strides[level])

    def all_anchors(self, outputs: DenseOutputs) -> Tensor:
        """(N, 4), in the order of the flattened outputs."""
        levels = enumerate(zip(shapes(outputs), self.steps(outputs)))
        return torch.cat([self.level_anchors(level, shape, step) for level, (shape, step) in levels])

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Deltas (..., H*W*A, 4) from the level's anchors, in units of `stds` -> boxes, not clipped."""
        anchors = self.level_anchors(level, shape, step)
        return decode_deltas(anchors, reg, self.stds, shrink_limit=self.convention.shrink_limit)

    def match(self, anchors: Tensor, counts: list[int], target: Targets, usable: Tensor) -> Tensor:
        """The assigner's answer (N,) for one image; `counts` are the anchors of each level."""
        return self.assigner(anchors, target, usable)

    def usable(self, anchors: Tensor, cells: CellIndex, size: Size) -> Tensor:
        """Which anchors (N,) of an image of `size` may be trained."""
        return valid_flags(cells, self.strides, size)

    @torch.no_grad()
    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Labels and boxes of every anchor. Anchors beyond an image's own padding are not trained."""
        anchors, cells = self.all_anchors(outputs), self.cells(outputs)
        counts = [height * width * self.num_anchors for height, width in shapes(outputs)]
        matched = [
            self.match(anchors, counts, target, self.usable(anchors, cells, size))
            for target, size in zip(targets, outputs.sizes)
        ]
        return collect_assignment(matched, targets, self.num_classes)
