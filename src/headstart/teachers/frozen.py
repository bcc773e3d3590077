"""The teacher that is a detector in memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headstart.classmap import ClassMap, match_classes
from headstart.detectors.detector import Detector
from headstart.detectors.taps import read_tap
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import HeadOutputs
from headstart.structures import DenseOutputs, Detections, Features, ImageBatch, RegionOutputs, Size
from headstart.teachers.base import TEACHER


class Frozen:
    """A detector that never changes: in evaluation mode for good, without gradients on its weights.

    Not a module, so that the student's tree, optimiser, averages, DDP and checkpoints never see it; copies share it.
    Gradients may pass *through* `model` to what `resume` is given.

    One pass per batch serves every lane and method. What is remembered belongs to one batch object and is let go with
    it, or by `clear`; only what somebody asked for is kept: the pyramid, and of stages and tower blocks those that
    `require` or `taps` named.

    class_map  what the names of its classes do not say: teacher's class -> student's class, None to leave it out
    name       what tables and logs call it; of several teachers each needs its own
    """

    def __init__(
        self, model: Detector, class_map: Mapping[str, str | None] | None = None, *, name: str = TEACHER
    ) -> None:
        # In this layout a pass without gradients is faster on processors, by an eighth or more (benchmarks/README.md).
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.classes = model.classes
        self.class_map = dict(class_map or {})
        self.name = name
        self._required: set[str] = set()
        self._batch: weakref.ref[ImageBatch] | None = None
        self._features: Features | None = None
        self._outputs: HeadOutputs | None = None
        self._read: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    @property
    def title(self) -> str:
        """`teacher`, or `teacher NAME` where there are several."""
        return TEACHER if self.name == TEACHER else f"{TEACHER} {self.name}"

    def match(self, classes: Sequence[str]) -> ClassMap:
        """Which of a student's classes each of the teacher's stands for. Raises UserError if none does."""
        return match_classes(self.classes, classes, self.class_map)

    def require(self, names: Sequence[str]) -> None:
        """These places will be read in every batch, so what they need is kept from the first reading on."""
        fresh = set(names) - self._required
        self._required |= fresh
        if any(name.startswith("backbone") for name in fresh):
            self.clear()
        elif not all(name.startswith(("neck", "output")) for name in fresh):
            self._outputs = None  # what is remembered of the batch lacks them; its pyramid serves on

    def features(self, batch: ImageBatch) -> Features:
        """The pyramid for this batch, and the backbone's stages if they are required (else `stages` is empty)."""
        self._begin(batch)
        if self._features is None:
            with torch.no_grad():
                found = self.model.extract(batch)
            keep = any(name.startswith("backbone") for name in self._required)
            self._features = found if keep else replace(found, stages=[])
        return self._features

    def outputs(self, batch: ImageBatch) -> HeadOutputs:
        """What the head says to this batch, traced; of the trace only required blocks are kept."""
        features = self.features(batch)
        if self._outputs is None:
            with torch.no_grad():
                found = self.model.head(features, batch.sizes, trace=True)
            self._outputs = self.model.head.keep_taps(found, self._required)
        return self._outputs

    @torch.no_grad()
    def detections(self, batch: ImageBatch) -> list[Detections]:
        """What it finds in each image, best first: pixels of the padded batch, its own labels; by the same pass."""
        return self.model.head.decode(self.outputs(batch), batch.sizes)

    def taps(self, batch: ImageBatch, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The values of places (`detectors.taps`) by name, before their activation."""
        self.require(names)
        inside = any(not name.startswith(("backbone", "neck")) for name in names)
        outputs = self.outputs(batch) if inside else None
        features = self.features(batch)
        return {name: read_tap(self.model, name, features, outputs) for name in names}

    @torch.no_grad()
    def at(self, batch: ImageBatch, boxes: list[Tensor], *, stage: int = 0) -> list[Tensor]:
        """What the fully connected layers of box head `stage` give at boxes (R_i, 4) of each image: [fc] (R, D).

        Read once for the same box tensors, whichever methods of a lane ask.
        """
        pyramid = self.features(batch).pyramid
        before, found = self._read.get(stage, ([], []))
        if not found or len(before) != len(boxes) or any(one is not other for one, other in zip(before, boxes)):
            found = self.model.head.box_heads[stage].read(pyramid, boxes)
            self._read[stage] = (list(boxes), found)
        return found

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        activated: bool = False,
    ) -> DenseOutputs:
        """Somebody else's maps through the dense head from block `start` on; gradients reach the maps.

        `activated`: they are values after the activation of the block before.
        """
        head = self.model.head
        if not isinstance(head, DenseHead):
            raise TypeError(f"{self.title} has no towers to enter: its head is a {type(head).__name__}")
        return head.resume(cls_maps, reg_maps, start=start, sizes=sizes, activated=activated)

    def read_regions(self, pyramid: list[Tensor], boxes: list[Tensor], *, stage: int = 0) -> RegionOutputs:
        """Somebody else's pyramid through box head `stage` at boxes (R_i, 4) of each image; gradients reach it."""
        return self.model.head.box_heads[stage](pyramid, boxes)

    def resume_regions(self, hidden: Tensor, *, start: int, stage: int = 0) -> RegionOutputs:
        """Somebody else's vectors (R, D) through box head `stage` from layer `start` on; gradients reach them."""
        return self.model.head.box_heads[stage].resume(hidden, start=start)

    def clear(self) -> None:
        """Lets go of what is remembered of the last batch."""
        self._batch = self._features = self._outputs = None
        self._read = {}

    def to(self, device: torch.device | str) -> Frozen:
        """Moves the detector to a device."""
        self.model.to(device)
        self.clear()
        return self

    def _begin(self, batch: ImageBatch) -> None:
        """Forgets the batch before, if this is another one."""
        if self._batch is None or self._batch() is not batch:
            self.clear()  # the old features go before the new ones come
            self._batch = weakref.ref(batch, self._end)

    def _end(self, batch: weakref.ref[ImageBatch]) -> None:
        if batch is self._batch:
            self.clear()

    def __deepcopy__(self, memo: dict[int, object]) -> Frozen:
        return self

    def __copy__(self) -> Frozen:
        return self
