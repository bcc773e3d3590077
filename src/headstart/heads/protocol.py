"""What a detector's head is to the rest: where it predicts, how it is run, trained, read and entered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import TwoStageOutputs
from headstart.structures import Assignment, DenseOutputs, Detections, Features, Regions, Size, Targets

HeadOutputs = DenseOutputs | TwoStageOutputs
"""Of a dense head, and of a two-stage one."""

Predictor = DenseHead | BoxHead | CascadeRoIHead
"""What makes final predictions."""


Outputs = TypeVar("Outputs", bound=HeadOutputs)


class Head(Protocol[Outputs]):
    """pyramid -> outputs; outputs and targets -> assignment; both -> losses; outputs -> detections or proposals.

    predicts_at  "cells" of the pyramid (a dense head), or "regions" (what reads the proposals of an RPN)
    predictor    what makes the final predictions and can be rebuilt for another pyramid: a dense head itself, or what
                 reads the regions
    num_classes  K;  strides  of the pyramid's levels that it reads, pixels
    num_anchors  per cell: of the head, or of the RPN that its regions come from
    tower_shape  width and depth of its two towers; None where there are none
    box_heads    what reads regions, one after the other; none in a dense head
    regions_per_image   how many regions it samples in training; 0 in a dense head
    """

    num_classes: int
    strides: list[int]

    @property
    def predicts_at(self) -> Literal["cells", "regions"]: ...

    @property
    def predictor(self) -> Predictor: ...

    @property
    def num_anchors(self) -> int: ...

    @property
    def tower_shape(self) -> tuple[int, int] | None: ...

    @property
    def box_heads(self) -> Sequence[BoxHead]: ...

    @property
    def regions_per_image(self) -> int: ...

    def __call__(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> Outputs:
        """What it says to a pyramid of B images of valid `sizes` (height, width), pixels.

        With targets, a two-stage head samples the regions that it reads. Traced outputs hold inner layers too.
        """
        ...

    def assign(self, outputs: Outputs, targets: list[Targets]) -> Assignment:
        """Which prior (of a two-stage head: of its RPN) answers for which object; without gradient."""
        ...

    def loss(self, outputs: Outputs, assignment: Assignment) -> dict[str, Tensor]:
        """{name: scalar}; two-stage outputs must have been made with targets."""
        ...

    def decode(self, outputs: Outputs, sizes: list[Size]) -> list[Detections]:
        """Detections per image, best first; without gradient."""
        ...

    def proposals(self, outputs: Outputs, sizes: list[Size]) -> list[Detections]:
        """Class-agnostic boxes per image, best first, each with its cell; without gradient."""
        ...

    def tap_names(self) -> list[str]:
        """The places inside it that methods may read (`detectors.taps`)."""
        ...

    def tap_width(self, name: str) -> int:
        """Channels of such a place."""
        ...

    def sampled_regions(self, outputs: Outputs) -> list[Regions]: ...

    def read_tap(self, name: str, outputs: Outputs) -> list[Tensor]:
        """The values of such a place before their activation: [l] (B, C, H, W), or one (R, D)."""
        ...

    def keep_taps(self, outputs: Outputs, names: Collection[str]) -> Outputs:
        """The outputs without the traced layers that are not among `names`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Itself and every module inside: a head is a `torch.nn.Module`."""
        ...


@runtime_checkable
class ExtraLoss(Protocol):
    """A head that has one more loss while `extra_l1`: in the last part of a training (`Detector.last_part`)."""

    extra_l1: bool


def as_dense(head: Head) -> DenseHead:
    """The head itself. Raises TypeError if it has no two towers to enter."""
    if not isinstance(head, DenseHead):
        raise TypeError(f"expected a dense head, found a {type(head).__name__}")
    return head


def dense_outputs(outputs: HeadOutputs) -> DenseOutputs:
    """The outputs themselves. Raises TypeError if they are not a dense head's."""
    if not isinstance(outputs, DenseOutputs):
        raise TypeError(f"expected the outputs of a dense head, found {type(outputs).__name__}")
    return outputs
