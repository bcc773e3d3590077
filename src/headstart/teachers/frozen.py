"""The teacher that is a detector in memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headstart.classmap import ClassMap, match_classes
from headstart.detectors.detector import Detector
from headstart.detectors.taps import level_names, read_tap
from headstart.heads.dense import DenseHead
from headstart.heads.protocol import HeadOutputs
from headstart.structures import DenseOutputs, Detections, Features, ImageBatch, RegionOutputs, Size
from headstart.teachers.base import TEACHER, demand_same_cells
from headstart.teachers.costs import Costs, NoCosts
from headstart.teachers.own_size import AtOwnSize, OwnSize, ratios, resample, scale_back, scale_boxes


class Frozen:
    """A detector that never changes: in evaluation mode for good, without gradients on its weights.

    Not a module, so that the student's tree, optimiser, averages, DDP and checkpoints never see it; copies share it.
    Gradients may pass *through* `model` to what `resume` is given.

    One pass per batch serves every lane and method. What is remembered belongs to one batch object and is let go with
    it, or by `clear`; only what somebody asked for is kept: the pyramid, and of stages and tower blocks those that
    `require` or `taps` named.

    class_map  what the names of its classes do not say: teacher's class -> student's class, None to leave it out
    name       what tables and logs call it; of several teachers each needs its own
    own        the size at which it sees the students' images; None: as they are. What `taps`, `at` and `detections`
               give is brought back to the students' cells and boxes; its predictions at its own cells are refused
    costs      told what is computed and who asks for it, so that every lane of a run pays its part
    """

    def __init__(
        self,
        model: Detector,
        class_map: Mapping[str, str | None] | None = None,
        *,
        name: str = TEACHER,
        own: OwnSize | None = None,
    ) -> None:
        # In this layout a pass without gradients is faster on processors, by an eighth or more (benchmarks/README.md).
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.classes = model.classes
        self.class_map = dict(class_map or {})
        self.name, self.own = name, own
        self.costs: Costs = NoCosts()
        self._required: set[str] = set()
        self._batch: weakref.ref[ImageBatch] | None = None
        self._view: ImageBatch | None = None
        self._features: Features | None = None
        self._outputs: HeadOutputs | None = None
        self._found: list[Detections] | None = None
        self._read: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    @property
    def title(self) -> str:
        """`teacher`, or `teacher NAME` where there are several; with the size that is its own."""
        own = f" at {self.own.side} px" if self.own is not None else ""
        return (TEACHER if self.name == TEACHER else f"{TEACHER} {self.name}") + own

    @property
    def scored(self) -> Detector | AtOwnSize:
        """What is measured on images: the detector, at the size that is its own."""
        return self.model if self.own is None else AtOwnSize(self.model, self.own)

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
        """The pyramid for this batch, and the backbone's stages if they are required (else `stages` is empty).

        At its own cells, whatever the size of its images.
        """
        view = self.view(batch)
        if self._features is None:
            with torch.no_grad(), self.costs.making("features"):
                found = self.model.extract(view)
            keep = any(name.startswith("backbone") for name in self._required)
            self._features = found if keep else replace(found, stages=[])
        self.costs.ask("features")
        return self._features

    def outputs(self, batch: ImageBatch) -> HeadOutputs:
        """What the head says to this batch, traced; of the trace only required blocks are kept.

        Raises UserError for a teacher of another size than the student: these are not the student's cells.
        """
        demand_same_cells(self.own, self.title)
        return self._said(batch)

    def detections(self, batch: ImageBatch) -> list[Detections]:
        """What it finds in each image, best first, in pixels of the student's padded input; the cells are its own."""
        view = self.view(batch)
        if self._found is None:
            with torch.no_grad(), self.costs.making("detections"):
                found = self._find(batch, view)
            self._found = found if self.own is None else scale_back(found, ratios(batch, view))
        self.costs.ask("detections")
        return self._found

    def taps(self, batch: ImageBatch, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The values of places (`detectors.taps`) by name, before their activation; maps at the student's cells.

        Raises UserError for predictions of a teacher of another size.
        """
        view, found = self.view(batch), self._places(batch, names)
        if self.own is None:
            return found
        if any(name.startswith("output") for name in names):
            demand_same_cells(self.own, self.title)
        return {
            name: maps if name.startswith("region") else resample(maps, self._strides(name), batch, view)
            for name, maps in found.items()
        }

    @torch.no_grad()
    def at(self, batch: ImageBatch, boxes: list[Tensor], *, stage: int = 0) -> list[Tensor]:
        """What the fully connected layers of box head `stage` give at boxes (R_i, 4) of each image: [fc] (R, D).

        Read once for the same box tensors, whichever methods of a lane ask.
        """
        pyramid = self.features(batch).pyramid
        before, found = self._read.get(stage, ([], []))
        if not found or len(before) != len(boxes) or any(one is not other for one, other in zip(before, boxes)):
            seen = boxes
            if self.own is not None:
                seen = [scale_boxes(one, side) for one, side in zip(boxes, ratios(batch, self.view(batch)))]
            found = self.model.head.box_heads[stage].read(pyramid, seen)
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

    def view(self, batch: ImageBatch) -> ImageBatch:
        """The batch as it sees it: itself, or its images at its own size. What belongs to another one is forgotten."""
        if self._batch is None or self._batch() is not batch:
            self.clear()  # the old features go before the new ones come
            self._batch = weakref.ref(batch, self._end)
        if self.own is None:
            return batch
        if self._view is None:
            self._view = self.own.view(batch)
        return self._view

    def clear(self) -> None:
        """Lets go of what is remembered of the last batch."""
        self._batch = self._view = self._features = self._outputs = self._found = None
        self._read = {}

    def to(self, device: torch.device | str) -> Frozen:
        """Moves the detector to a device."""
        self.model.to(device)
        self.clear()
        return self

    def _said(self, batch: ImageBatch) -> HeadOutputs:
        """What the head says to its view of the batch."""
        features = self.features(batch)
        if self._outputs is None:
            with torch.no_grad(), self.costs.making("outputs"):
                found = self.model.head(features, self.view(batch).sizes, trace=True)
            self._outputs = self.model.head.keep_taps(found, self._required)
        self.costs.ask("outputs")
        return self._outputs

    def _find(self, batch: ImageBatch, view: ImageBatch) -> list[Detections]:
        """What is found in its view of the batch."""
        return self.model.head.decode(self._said(batch), view.sizes)

    def _places(self, batch: ImageBatch, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The values of places at its own cells."""
        self.require(names)
        inside = any(not name.startswith(("backbone", "neck")) for name in names)
        outputs = self._said(batch) if inside else None
        features = self.features(batch)
        return {name: read_tap(self.model, name, features, outputs) for name in names}

    def _strides(self, name: str) -> list[int]:
        """Those of the maps of a place."""
        part, _, which = name.partition("/")
        found = self.model.backbone.strides if part == "backbone" else self.model.neck.strides
        if part not in ("backbone", "neck"):
            return self.model.head.strides
        letter = "C" if part == "backbone" else "P"
        return [found[level_names(letter, found).index(which)]] if which else list(found)

    def _end(self, batch: weakref.ref[ImageBatch]) -> None:
        if batch is self._batch:
            self.clear()

    def __deepcopy__(self, memo: dict[int, object]) -> Frozen:
        return self

    def __copy__(self) -> Frozen:
        return self
