"""Cascade R-CNN (arXiv:1712.00726): box heads one after the other, each reading what the one before refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from headstart.assign.sample import RegionSampler
from headstart.heads.rebuildable import Rebuildable
from headstart.heads.roi import BoxHead, BoxHeadOptions, RegionOptions, Stds
from headstart.heads.two_stage import RPNBasedHead, StageOutputs, TwoStageOutputs
from headstart.options import Count, part_of
from headstart.structures import Assignment, Detections, Features, RegionOutputs, Regions, Size, Targets


@dataclass(frozen=True)
class Stage:
    """What makes one stage of a cascade different from the others.

    pos_iou  IoU from which a box is an object; `stds` of its delta code; `weight` of its losses
    """

    pos_iou: float
    stds: Stds
    weight: float


STAGES = (
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
)


@dataclass(frozen=True, kw_only=True)
class CascadeOptions(RegionOptions):
    """Options of Cascade R-CNN's box heads, which are all made alike but for what `stages` say.

    stages   from the first to the last
    regions  sampled per image and stage, a quarter of them objects
    """

    stages: tuple[Stage, ...] = STAGES
    regions: Count = 512


class CascadeRoIHead(Rebuildable[CascadeOptions]):
    """Box heads that give one box for all classes, one after the other; who offers the first boxes stands outside.

    A step in training: for each stage `samplers[s]` assigns and samples anew, ground truth added, `heads[s]` reads, and
    `refine_regions` says what the next stage is offered. The three are separate and pure, so that two cascades can
    read the same regions stage by stage.

    Losses `stage0_cls`, `stage0_box` ...: the box heads' (smooth L1, beta 1), times the stages' weights. Detections
    have the last stage's boxes and the softmax of the mean of all stages' logits.
    Checked against mmdetection (tests/parity, two_stage_cascade).
    """

    Options = CascadeOptions
    heads: Sequence[BoxHead]

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: CascadeOptions = CascadeOptions()
    ) -> None:
        super().__init__()
        self.hparams, self.num_classes, self.stages = options, num_classes, options.stages
        self.samplers = [RegionSampler(options.regions, pos_iou=stage.pos_iou) for stage in self.stages]
        every = [
            part_of(BoxHeadOptions, options, class_agnostic=True, stds=stage.stds, beta=1.0) for stage in self.stages
        ]
        heads = nn.ModuleList(BoxHead(num_classes, channels, strides, own) for own in every)
        self.heads = cast("Sequence[BoxHead]", heads)  # a ModuleList does not say what it holds

    def forward(
        self,
        pyramid: Sequence[Tensor],
        proposals: list[Detections],
        sizes: list[Size],
        targets: list[Targets] | None = None,
        *,
        first: list[Regions] | None = None,
    ) -> list[StageOutputs]:
        """Every stage in turn, from `proposals` per image; without targets every offered box is read.

        pyramid [l] (B, C, H, W), at least as many levels as the box heads read; `sizes` (height, width), pixels.
        `first` are the regions of the first stage where they were sampled before, to be shared; proposals are not
        looked at then.
        """
        outputs = []
        for head, sampler in zip(self.heads, self.samplers):
            regions: list[Regions] = []
            if first is not None and not outputs:
                regions = first
            elif targets is not None:
                regions = [sampler(p, t, self.num_classes) for p, t in zip(proposals, targets)]
            read = regions or proposals
            roi = head(pyramid, [r.boxes for r in read])
            outputs.append(StageOutputs(proposals, regions, roi))
            if len(outputs) < len(self.heads):
                proposals = refine_regions(head, roi, read, sizes)
        return outputs

    def loss(self, outputs: Sequence[StageOutputs]) -> dict[str, Tensor]:
        """{"stage0_cls", "stage0_box", "stage1_cls" ...}: weighted scalars, of outputs made with targets."""
        losses = {}
        for index, (head, stage, read) in enumerate(zip(self.heads, self.stages, outputs)):
            for name, value in head.loss(read.roi, read.regions).items():
                losses[f"stage{index}_{name}"] = value * stage.weight
        return losses

    def decode(self, outputs: Sequence[StageOutputs], sizes: list[Size]) -> list[Detections]:
        """Detections per image, of outputs made without targets."""
        logits = torch.stack([read.roi.cls.float() for read in outputs]).mean(dim=0)
        last = outputs[-1]
        return self.heads[-1].decode(RegionOutputs([], logits, last.roi.reg), last.proposals, sizes)


@torch.no_grad()
def refine_regions(
    head: BoxHead, outputs: RegionOutputs, regions: Sequence[Regions | Detections], sizes: list[Size]
) -> list[Detections]:
    """What the next stage is offered: the boxes that `head` makes of the regions it read, each with its old cell.

    Rows keep their order, but ground-truth boxes (level -1) are left out: the next sampler adds them unmoved. Scores
    are the largest class probabilities of `outputs`, labels 0, as for proposals.
    """
    refined = head.refine(outputs, [r.boxes for r in regions], sizes)
    scores = outputs.cls.float().softmax(dim=1)[:, : head.num_classes].amax(dim=1).split([len(r) for r in regions])
    offered = []
    for boxes, score, region in zip(refined, scores, regions):
        kept = (region.cells.level >= 0).nonzero().flatten()
        offered.append(Detections(boxes, score, torch.zeros_like(region.labels), region.cells)[kept])
    return offered


class CascadeHead(RPNBasedHead[CascadeRoIHead]):
    """Cascade R-CNN's head: what Faster R-CNN's is with one box head, with several."""

    @property
    def box_heads(self) -> list[BoxHead]:
        """What reads regions, one after the other."""
        return list(self.roi.heads)

    @property
    def regions_per_image(self) -> int:
        """How many regions it samples in training for the first stage."""
        return self.roi.samplers[0].count

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> TwoStageOutputs:
        rpn = self.rpn(features, sizes, trace=trace)
        proposals = self.candidates(rpn, sizes, training=targets is not None)
        *earlier, last = self.roi(features.pyramid, proposals, sizes, targets)
        return TwoStageOutputs(rpn, last.proposals, last.regions, last.roi, tuple(earlier))

    def loss(self, outputs: TwoStageOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"rpn_cls", "rpn_box"} and the stages' losses: scalars."""
        rpn = self.rpn.loss(outputs.rpn, assignment)
        return {"rpn_cls": rpn["cls"], "rpn_box": rpn["box"], **self.roi.loss(outputs.stages)}

    def decode(self, outputs: TwoStageOutputs, sizes: list[Size]) -> list[Detections]:
        return self.roi.decode(outputs.stages, sizes)
