"""Two-stage heads: proposals of an RPN, read by an R-CNN head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from headstart.assign.sample import RegionSampler
from headstart.heads.roi import BoxHead
from headstart.heads.rpn import RPNHead
from headstart.structures import (
    Assignment,
    DenseOutputs,
    Detections,
    Features,
    Moves,
    RegionOutputs,
    Regions,
    Size,
    Targets,
)


@dataclass(frozen=True)
class TwoStageOutputs(Moves):
    """rpn: the dense outputs; proposals: boxes read when detecting; regions: boxes read when training, else empty."""

    rpn: DenseOutputs
    proposals: list[Detections]
    regions: list[Regions]
    roi: RegionOutputs


class TwoStageHead(nn.Module):
    """Faster R-CNN's head. With targets, regions are sampled for training; without, the proposals are read."""

    def __init__(self, rpn: RPNHead, roi: BoxHead, sampler: RegionSampler | None = None) -> None:
        super().__init__()
        self.rpn, self.roi, self.sampler = rpn, roi, sampler or RegionSampler()
        self.num_classes, self.strides = roi.num_classes, rpn.strides

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> TwoStageOutputs:
        rpn = self.rpn(features, sizes, trace=trace)
        regions: list[Regions] = []
        if targets is None:
            proposals = self.rpn.propose(rpn, sizes, self.rpn.selection)
            boxes = [p.boxes for p in proposals]
        else:
            proposals = self.rpn.proposals(rpn, sizes)
            regions = [self.sampler(p, t, self.num_classes) for p, t in zip(proposals, targets)]
            boxes = [r.boxes for r in regions]
        return TwoStageOutputs(rpn, proposals, regions, self.roi(features.pyramid, boxes))

    def assign(self, outputs: TwoStageOutputs, targets: list[Targets]) -> Assignment:
        """The RPN's assignment; the regions were assigned when they were sampled."""
        return self.rpn.assign(outputs.rpn, targets)

    def loss(self, outputs: TwoStageOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"rpn_cls", "rpn_box", "cls", "box"}: scalars."""
        rpn = self.rpn.loss(outputs.rpn, assignment)
        roi = self.roi.loss(outputs.roi, outputs.regions)
        return {"rpn_cls": rpn["cls"], "rpn_box": rpn["box"], **roi}

    def decode(self, outputs: TwoStageOutputs, sizes: list[Size]) -> list[Detections]:
        return self.roi.decode(outputs.roi, outputs.proposals, sizes)

    def proposals(self, outputs: TwoStageOutputs, sizes: list[Size]) -> list[Detections]:
        """The RPN's, each with its cell."""
        return self.rpn.proposals(outputs.rpn, sizes)
