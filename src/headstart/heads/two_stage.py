"""Two-stage heads: proposals of an RPN, read by an R-CNN head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from torch import Tensor, nn

from headstart.assign.sample import RegionSampler
from headstart.heads.rebuildable import Rebuildable
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
class StageOutputs(ToDevice):
    """What one box head read and said.

    proposals  the boxes offered to it, per image
    regions    those sampled from them when training, per image; else empty
    roi        its outputs at `read_boxes`
    """

    proposals: list[Detections]
    regions: list[Regions]
    roi: RegionOutputs

    @property
    def read_boxes(self) -> list[Regions] | list[Detections]:
        """What it read, image by image: the sampled regions, or all proposals where none were sampled."""
        return self.regions or self.proposals


@dataclass(frozen=True)
class TwoStageOutputs(ToDevice):
    """What a two-stage head says.

    rpn      the dense outputs of what proposes
    proposals, regions, roi   of the last box head, as in `StageOutputs`
    earlier  the box heads before it, in heads that refine their boxes; the first one reads the RPN's proposals
    """

    rpn: DenseOutputs
    proposals: list[Detections]
    regions: list[Regions]
    roi: RegionOutputs
    earlier: tuple[StageOutputs, ...] = ()

    @property
    def stages(self) -> tuple[StageOutputs, ...]:
        """Every box head's, from the first to the last."""
        return (*self.earlier, StageOutputs(self.proposals, self.regions, self.roi))

    @property
    def first(self) -> StageOutputs:
        """That of the box head which reads the RPN's proposals."""
        return self.stages[0]


RoI = TypeVar("RoI", bound=Rebuildable)


class RPNBasedHead(nn.Module, Generic[RoI]):
    """What two-stage heads share: an RPN whose boxes are read by something (`roi`)."""

    predicts_at: Literal["regions"] = "regions"

    def __init__(self, rpn: RPNHead, roi: RoI) -> None:
        super().__init__()
        self.rpn, self.roi = rpn, roi
        self.num_classes, self.strides = roi.num_classes, rpn.strides

    @property
    def predictor(self) -> RoI:
        """What makes the final predictions: what reads the regions."""
        return self.roi

    @property
    def box_heads(self) -> Sequence[BoxHead]:
        """What reads regions, one after the other."""
        raise NotImplementedError

    @property
    def tower_shape(self) -> None:
        """It has no two towers."""
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

    def sampled_regions(self, outputs: TwoStageOutputs) -> list[Regions]:
        """The regions that the first box head read in training, one entry per image."""
        return outputs.first.regions

    def read_tap(self, name: str, outputs: TwoStageOutputs) -> list[Tensor]:
        """The values of such a place for all images' regions, before their activation: one (R, D)."""
        return [outputs.first.roi.hidden[self.tap_names().index(name)]]

    def keep_taps(self, outputs: TwoStageOutputs, names: Collection[str]) -> TwoStageOutputs:
        """The outputs without the RPN's trace, so that its memory can be used again: no place is inside the RPN."""
        return replace(outputs, rpn=self.rpn.keep_taps(outputs.rpn, ()))

    def candidates(self, rpn: DenseOutputs, sizes: list[Size], *, training: bool) -> list[Detections]:
        """The boxes to read, or in training to sample from: there are more of those."""
        return self.rpn.propose(rpn, sizes, self.rpn.proposing if training else self.rpn.selection)

    def assign(self, outputs: TwoStageOutputs, targets: list[Targets]) -> Assignment:
        """The RPN's assignment; the regions were assigned when they were sampled."""
        return self.rpn.assign(outputs.rpn, targets)

    def proposals(self, outputs: TwoStageOutputs, sizes: list[Size]) -> list[Detections]:
        """The RPN's, each with its cell."""
        return self.rpn.proposals(outputs.rpn, sizes)


class TwoStageHead(RPNBasedHead[BoxHead]):
    """Faster R-CNN's head. With targets, regions are sampled for training; without, the proposals are read."""

    def __init__(self, rpn: RPNHead, roi: BoxHead, sampler: RegionSampler | None = None) -> None:
        super().__init__(rpn, roi)
        self.sampler = sampler or RegionSampler()

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
