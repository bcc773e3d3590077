"""GFL's head: generalised focal loss (arXiv:2006.04388)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from headstart.boxes import aligned_iou, centers, decode_distances, encode_distances
from headstart.heads.cells import flatten
from headstart.heads.single_anchor import SingleAnchorHead, SingleAnchorOptions
from headstart.losses.box import giou
from headstart.losses.classification import quality_focal
from headstart.losses.distribution import distribution_focal, integral
from headstart.losses.normalise import divisor, mean_over_ranks
from headstart.options import Width
from headstart.structures import Assignment, DenseOutputs, Size


@dataclass(frozen=True, kw_only=True)
class GFLOptions(SingleAnchorOptions):
    """Options of GFL's head.

    reg_max  how many strides away an edge can be
    """

    reg_max: Width = 16

    aliases: ClassVar[Mapping[str, str]] = {"reach": "reg_max"}


class GFLHead(SingleAnchorHead):
    """One square anchor per cell; the class score is also the box's quality; every edge of a box is a distribution.

    Outputs' `reg` are logits: for each of left, top, right, bottom, of the distance 0, 1, ... `reg_max` strides from
    the cell's upper left corner, where the anchor's centre is. The box is read off the four expected values.

    Losses: `cls` quality focal / positives (at least one per image); `box` twice GIoU and `distribution` a quarter of
    the mean distribution focal loss of the four edges, both weighted by the positive's best class score / its sum.
    Checked against mmdetection (tests/parity, dense_gfl).
    """

    Options = GFLOptions

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: GFLOptions = GFLOptions()
    ) -> None:
        super().__init__(num_classes, channels, strides, options, code_size=4 * (options.reg_max + 1))
        self.reg_max = options.reg_max

    def distances(self, reg: Tensor) -> Tensor:
        """(..., 4 * (reg_max + 1)) logits to the four expected distances (..., 4), in strides."""
        return integral(reg.unflatten(-1, (4, self.reg_max + 1)))

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Logits (..., H*W, 4 * (reg_max + 1)) of the four distances -> boxes (..., H*W, 4), not clipped."""
        points = centers(self.level_anchors(level, shape, step))
        return decode_distances(points, self.distances(reg) * self.strides[level])

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box", "distribution"}: scalars."""
        logits = flatten(outputs.cls, self.num_classes).float()
        count = divisor(assignment.positive.sum(dim=1).clamp(min=1).sum())

        image, row = assignment.positive.nonzero(as_tuple=True)
        stride = self.row_strides(outputs)[row, None]
        points, truth = centers(self.all_anchors(outputs)[row]) / stride, assignment.boxes[image, row] / stride
        codes = flatten(outputs.reg, self.code_size)[image, row].float()
        found = decode_distances(points, self.distances(codes))
        sure = logits.detach()[image, row].sigmoid().amax(dim=1)
        total = mean_over_ranks(sure.sum()).clamp(min=1)
        box = 2 * giou(found, truth, sure)
        # A distance of `reg_max` or more would have no integer above it.
        goal = encode_distances(points, truth).clamp(0, self.reg_max - 0.1)
        edges = codes.unflatten(-1, (4, -1)).flatten(0, 1)
        distribution = 0.25 * distribution_focal(edges, goal.flatten(), sure.repeat_interleave(4)) / 4

        quality, _ = aligned_iou(found.detach(), truth)
        rows = image * assignment.labels.shape[1] + row
        cls = quality_focal(
            logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten(), rows, quality
        )
        return {"cls": cls / count, "box": box / total, "distribution": distribution / total}
