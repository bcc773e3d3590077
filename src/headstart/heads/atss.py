"""ATSS's head (arXiv:1912.02424)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headstart.boxes import centers, centreness, decode_deltas, encode_distances
from headstart.heads.cells import flatten
from headstart.heads.init import draw_normal
from headstart.heads.single_anchor import SingleAnchorHead, SingleAnchorOptions
from headstart.losses.box import giou
from headstart.losses.classification import bce_with_logits, focal
from headstart.losses.normalise import divisor, mean_over_ranks
from headstart.structures import Assignment, DenseOutputs


@dataclass(frozen=True, kw_only=True)
class ATSSOptions(SingleAnchorOptions):
    """Options of ATSS's head: those of every head with one square anchor per cell."""


class ATSSHead(SingleAnchorHead):
    """One square anchor per cell, deltas from it, and a centreness read from the box tower.

    Losses: `cls` focal / positives (at least one per image), `box` twice GIoU weighted by centreness / its sum,
    `quality` BCE of the centreness / positives. Checked against mmdetection (tests/parity, dense_atss).
    """

    Options = ATSSOptions
    has_quality = True
    stds = (0.1, 0.1, 0.2, 0.2)

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: ATSSOptions = ATSSOptions()
    ) -> None:
        super().__init__(num_classes, channels, strides, options)
        self.centreness = nn.Conv2d(self.width, 1, 3, padding=1)
        draw_normal(self.centreness, 0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        logits, codes, _ = super().predict(cls, reg)
        return logits, codes, [self.centreness(x) for x in reg]

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box", "quality"}: scalars."""
        logits = flatten(outputs.cls, self.num_classes).float()
        count = divisor(assignment.positive.sum(dim=1).clamp(min=1).sum())
        cls = focal(logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten())

        image, row = assignment.positive.nonzero(as_tuple=True)
        anchors, goal = self.all_anchors(outputs)[row], assignment.boxes[image, row]
        centred = centreness(encode_distances(centers(anchors), goal))
        total = mean_over_ranks(centred.sum()).clamp(min=1)
        found = decode_deltas(anchors, flatten(outputs.reg, 4)[image, row].float(), self.stds)
        box = 2 * giou(found, goal, centred)
        quality = bce_with_logits(flatten(outputs.quality or [], 1)[image, row, 0].float(), centred)
        return {"cls": cls / count, "box": box / total, "quality": quality / count}
