"""What methods ask of a teacher: a protocol, so that a frozen detector is one kind of teacher among others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from headstart.classmap import ClassMap
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.protocol import HeadOutputs
from headstart.structures import DenseOutputs, Detections, ImageBatch, RegionOutputs, Size
from headstart.teachers.own_size import OwnSize

TEACHER = "teacher"
"""The name of a teacher that is the only one."""


def demand_same_cells(own: OwnSize | None, title: str) -> None:
    """Raises UserError for a teacher of a size of its own: it predicts at other cells than the student."""
    if own is not None:
        raise UserError(
            f"the {title} predicts at other cells than the student, so this method cannot compare its predictions "
            "cell by cell: leave out teacher.imgsz, or use a method that reads its pyramid, its towers or its regions "
            "(head, pkd, cwd) or its boxes"
        )


class Teacher(Protocol):
    """A detector that does not learn. What it says of a batch is computed once, whoever asks, without gradient.

    name     what tables and logs call it; of several teachers each needs its own
    title    `teacher`, or `teacher NAME` where there are several
    classes  its class names, in the order of its labels
    model    the detector that it is, whose sizes and layers decide what can imitate it
    own      the size at which it sees the images; None: as the students do
    """

    name: str
    classes: tuple[str, ...]
    model: Detector
    own: OwnSize | None

    @property
    def title(self) -> str: ...

    def match(self, classes: Sequence[str]) -> ClassMap:
        """Which of a student's classes each of the teacher's stands for. Raises UserError if none does."""
        ...

    def outputs(self, batch: ImageBatch) -> HeadOutputs:
        """What its head says to the batch. Raises UserError for a teacher that predicts at other cells (`own`)."""
        ...

    def detections(self, batch: ImageBatch) -> list[Detections]:
        """What it finds in each image, best first, in pixels of the batch's padded input, in its own classes."""
        ...

    def taps(self, batch: ImageBatch, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The values of places inside it (`detectors.taps`), by name, before their activation."""
        ...

    def at(self, batch: ImageBatch, boxes: list[Tensor], *, stage: int = 0) -> list[Tensor]:
        """What the fully connected layers of its box head `stage` give at boxes (R_i, 4) of each image: [fc] (R, D).

        All images' boxes in order, before the activations.
        """
        ...

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        activated: bool = False,
    ) -> DenseOutputs:
        """Somebody else's maps through its dense head from block `start` on; gradients reach the maps.

        `activated`: they are values after the activation of the block before.
        """
        ...

    def read_regions(self, pyramid: list[Tensor], boxes: list[Tensor], *, stage: int = 0) -> RegionOutputs:
        """Somebody else's pyramid through its box head at boxes (R_i, 4) of each image; gradients reach the pyramid."""
        ...

    def resume_regions(self, hidden: Tensor, *, start: int, stage: int = 0) -> RegionOutputs:
        """Somebody else's vectors (R, D) through its box head from layer `start` on; gradients reach the vectors."""
        ...

    def clear(self) -> None:
        """Lets go of what is remembered of the last batch."""
        ...
