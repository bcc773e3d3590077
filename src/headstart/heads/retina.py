"""RetinaNet's head (arXiv:1708.02002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headstart.assign.max_iou import MaxIoU
from headstart.boxes import encode_deltas
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import CellOptions, flatten
from headstart.heads.convention import CONVENTIONS, ConventionName
from headstart.heads.dense import DenseHead
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.losses.box import smooth_l1
from headstart.losses.classification import focal
from headstart.losses.normalise import divisor
from headstart.options import Positive, Positives
from headstart.structures import Assignment, DenseOutputs


@dataclass(frozen=True, kw_only=True)
class RetinaOptions(CellOptions):
    """Options of RetinaNet's head.

    anchor_scale  side of the smallest of three anchors per ratio, in strides; the others are 2^(1/3) and 2^(2/3) of it
    ratios        heights of anchors divided by their widths
    norm          GroupNorm in the towers
    convention    whose weights these are
    """

    anchor_scale: Positive = 4.0
    ratios: Positives = (0.5, 1.0, 2.0)
    norm: bool = False
    convention: ConventionName = "mmdetection"


class RetinaHead(AnchorHead, DenseHead):
    """Two towers of convolutions, shared by the levels; 9 anchors per cell by default.

    Losses: `cls` focal, `box` L1 on deltas, both divided by the number of positive anchors (at least one per image).
    Checked against mmdetection (tests/parity, dense_retina).
    """

    Options = RetinaOptions

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: RetinaOptions = RetinaOptions()
    ) -> None:
        convention = CONVENTIONS[options.convention]
        super().__init__(num_classes, channels, strides, options, norm=options.norm, convention=convention)
        self.make_anchors([options.anchor_scale * 2 ** (octave / 3) for octave in range(3)], options.ratios)
        self.assigner = MaxIoU(pos_iou=0.5, neg_iou=0.4, min_pos_iou=0.0)
        self.cls = nn.Conv2d(self.width, self.num_anchors * num_classes, 3, padding=1)
        self.reg = nn.Conv2d(self.width, self.num_anchors * 4, 3, padding=1)
        draw_normal(self.cls, 0.01, PRIOR_BIAS)
        draw_normal(self.reg, 0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], None]:
        return [self.cls(x) for x in cls], [self.reg(x) for x in reg], None

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars."""
        logits = flatten(outputs.cls, self.num_classes).float()
        count = divisor(assignment.positive.sum(dim=1).clamp(min=1).sum())
        cls = focal(logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten())
        image, row = assignment.positive.nonzero(as_tuple=True)
        goal = encode_deltas(self.all_anchors(outputs)[row], assignment.boxes[image, row])
        box = smooth_l1(flatten(outputs.reg, 4)[image, row].float(), goal)
        return {"cls": cls / count, "box": box / count}
