"""Two-stage heads: proposals of an RPN, read by an R-CNN head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from headstart.assign.sample import RegionSampler
from headstart.heads.roi import BoxHead
from headstart.heads.rpn import RPNHead
from headstart.structures import (
    Assignment,
    DenseOutputs,
    Detections,
    Features,
    RegionOutputs,
    Regions,
    Size,
    Targets,
    ToDevice,
)


@dataclass(frozen=True)
class ProposalOutputs(ToDevice):
    """rpn: the dense outputs of what proposes."""

    rpn: DenseOutputs


@dataclass(frozen=True)
class TwoStageOutputs(ProposalOutputs):
    """proposals: boxes read when detecting; regions: boxes read when training, else empty."""

    proposals: list[Detections]
    regions: list[Regions]
    roi: RegionOutputs

    @property
    def first(self) -> TwoStageOutputs:
        """What the only box head read and said, as `first` of a cascade is its first stage."""
        return self


class RPNBasedHead(nn.Module):
    """What two-stage heads share: an RPN whose boxes are read by something (`roi`)."""

    predicts_at: Literal["regions"] = "regions"
    roi: nn.Module
    box_heads: Sequence[BoxHead]

    def __init__(self, rpn: RPNHead, num_classes: int) -> None:
        super().__init__()
        self.rpn = rpn
        self.num_classes, self.strides = num_classes, rpn.strides

    @property
    def predictor(self) -> nn.Module:
        """What makes the final predictions: what reads the regions."""
        return self.roi

    @property
    def tower_shape(self) -> None:
        """There are no towers."""
        return

    @property
    def num_anchors(self) -> int:
        """Per cell of the RPN, where regions come from."""
        return self.rpn.num_anchors

    def tap_names(self) -> list[str]:
        """The places inside it that methods may read (`detectors.taps`): the layers of the first box head."""
        return [f"region/{layer}" for layer in self.box_heads[0].layers]

    def tap_width(self, name: str) -> int:
        """Channels of such a place."""
        return self.box_heads[0].hidden

    def read_tap(self, name: str, outputs: ProposalOutputs) -> list[Tensor]:
        """The values of such a place for all images' regions, before their activation: one (R, D)."""
        return [outputs.first.roi.hidden[self.tap_names().index(name)]]

    def keep_taps(self, outputs: ProposalOutputs, names: Collection[str]) -> ProposalOutputs:
        """The outputs as they are: nothing of them is there for tracing alone."""
        return outputs

    def candidates(self, rpn: DenseOutputs, sizes: list[Size], *, training: bool) -> list[Detections]:
        """The boxes to read, or in training to sample from: there are more of those."""
        return self.rpn.propose(rpn, sizes, self.rpn.proposing if training else self.rpn.selection)

    def assign(self, outputs: ProposalOutputs, targets: list[Targets]) -> Assignment:
        """The RPN's assignment; the regions were assigned when they were sampled."""
        return self.rpn.assign(outputs.rpn, targets)

    def proposals(self, outputs: ProposalOutputs, sizes: list[Size]) -> list[Detections]:
        """The RPN's, each with its cell."""
        return self.rpn.proposals(outputs.rpn, sizes)


class TwoStageHead(RPNBasedHead):
    """Faster R-CNN's head. With targets, regions are sampled for training; without, the proposals are read."""

    def __init__(self, rpn: RPNHead, roi: BoxHead, sampler: RegionSampler | None = None) -> None:
        super().__init__(rpn, roi.num_classes)
        self.roi, self.sampler = roi, sampler or RegionSampler()

    @property
    def box_heads(self) -> list[BoxHead]:
        """What reads regions: one head."""
        return [self.roi]

    @property
    def regions_per_image(self) -> int:
        """How many regions it samples in training."""
        return self.sampler.count

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> TwoStageOutputs:
        rpn = self.rpn(features, sizes, trace=trace)
        proposals = self.candidates(rpn, sizes, training=targets is not None)
        regions: list[Regions] = []
        if targets is not None:
            regions = [self.sampler(p, t, self.num_classes) for p, t in zip(proposals, targets)]
        boxes = [read.boxes for read in regions or proposals]
        return TwoStageOutputs(rpn, proposals, regions, self.roi(features.pyramid, boxes))

    def loss(self, outputs: TwoStageOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{"rpn_cls", "rpn_box", "cls", "box"}: scalars."""
        rpn = self.rpn.loss(outputs.rpn, assignment)
        roi = self.roi.loss(outputs.roi, outputs.regions)
        return {"rpn_cls": rpn["cls"], "rpn_box": rpn["box"], **roi}

    def decode(self, outputs: TwoStageOutputs, sizes: list[Size]) -> list[Detections]:
        return self.roi.decode(outputs.roi, outputs.proposals, sizes)
