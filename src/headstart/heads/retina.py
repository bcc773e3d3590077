"""RetinaNet's head (arXiv:1708.02002)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from headstart.assign.max_iou import MaxIoU
from headstart.boxes import encode_deltas
from headstart.heads.anchor import AnchorHead
from headstart.heads.convention import OWN, Convention
from headstart.heads.dense import DETECTIONS, Selection, flatten
from headstart.heads.init import PRIOR_BIAS, draw_normal
from headstart.heads.tower import Tower
from headstart.losses.box import smooth_l1
from headstart.losses.classification import focal
from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Assignment, DenseOutputs


class RetinaHead(AnchorHead):
    """Two towers of `depth` convolutions, `width` channels, shared by the levels; 9 anchors per cell by default.

    Losses: `cls` focal, `box` L1 on deltas, both divided by the number of positive anchors (at least one per image).
    `anchor_scale` is the smallest anchor's side in strides; three octave steps of it, at three ratios. `norm`: towers
    with GroupNorm.
    Checked against mmdetection (tests/parity, dense_retina).
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        *,
        width: int = 256,
        depth: int = 4,
        anchor_scale: float = 4.0,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        norm: bool = False,
        selection: Selection = DETECTIONS,
        convention: Convention = OWN,
    ) -> None:
        scales = [anchor_scale * 2 ** (octave / 3) for octave in range(3)]
        super().__init__(num_classes, strides, selection, scales, ratios, convention=convention)
        self.width = width
        self.hparams = {
            "width": width,
            "depth": depth,
            "anchor_scale": anchor_scale,
            "ratios": ratios,
            "norm": norm,
            "selection": selection,
            "convention": convention,
        }
        self.assigner = MaxIoU(pos_iou=0.5, neg_iou=0.4, min_pos_iou=0.0)
        self.cls_tower = Tower(channels, width, depth, norm=norm)
        self.reg_tower = Tower(channels, width, depth, norm=norm)
        self.cls = nn.Conv2d(width, self.num_anchors * num_classes, 3, padding=1)
        self.reg = nn.Conv2d(width, self.num_anchors * 4, 3, padding=1)
        draw_normal(self.cls, 0.01, PRIOR_BIAS)
        draw_normal(self.reg, 0.01)

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], None]:
        return [self.cls(x) for x in cls], [self.reg(x) for x in reg], None

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars."""
        logits = flatten(outputs.cls, self.num_classes).float()
        count = mean_over_ranks(assignment.positive.sum(dim=1).clamp(min=1).sum())
        cls = focal(logits.flatten(0, 1), assignment.labels.flatten(), assignment.weight.flatten())
        image, row = assignment.positive.nonzero(as_tuple=True)
        goal = encode_deltas(self.all_anchors(outputs)[row], assignment.boxes[image, row])
        box = smooth_l1(flatten(outputs.reg, 4)[image, row].float(), goal)
        return {"cls": cls / count, "box": box / count}
