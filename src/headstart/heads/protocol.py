"""What a detector's head is to the rest: where it predicts, how it is run, trained, read and entered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Protocol

from torch import Tensor, nn

from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import ProposalOutputs
from headstart.structures import Assignment, DenseOutputs, Detections, Features, Size, Targets

HeadOutputs = DenseOutputs | ProposalOutputs
"""Of a dense head, and of a two-stage one."""


class Head(Protocol):
    """pyramid -> outputs; outputs and targets -> assignment; both -> losses; outputs -> detections or proposals.

    predicts_at  "cells" of the pyramid (a dense head), or "regions" (what reads the proposals of an RPN)
    predictor    what makes the final predictions and can be rebuilt for another pyramid: a dense head itself, or what
                 reads the regions
    num_anchors  per cell: of the head, or of the RPN that its regions come from
    box_heads    what reads regions, one after the other; none in a dense head
    regions_per_image   how many regions it samples in training; 0 in a dense head
    """

    predicts_at: Literal["cells", "regions"]
    num_classes: int
    num_anchors: int
    strides: list[int]

    @property
    def predictor(self) -> nn.Module: ...

    @property
    def box_heads(self) -> Sequence[BoxHead]: ...

    @property
    def regions_per_image(self) -> int: ...

    def __call__(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> HeadOutputs: ...

    def assign(self, outputs: HeadOutputs, targets: list[Targets]) -> Assignment: ...

    def loss(self, outputs: HeadOutputs, assignment: Assignment) -> dict[str, Tensor]: ...

    def decode(self, outputs: HeadOutputs, sizes: list[Size]) -> list[Detections]: ...

    def proposals(self, outputs: HeadOutputs, sizes: list[Size]) -> list[Detections]: ...

    def tap_names(self) -> list[str]: ...

    def tap_width(self, name: str) -> int: ...

    def read_tap(self, name: str, outputs: HeadOutputs) -> list[Tensor]: ...

    def keep_taps(self, outputs: HeadOutputs, names: Collection[str]) -> HeadOutputs: ...
