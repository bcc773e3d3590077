"""A frozen detector whose answers are kept on disk, so that a view that comes again costs no pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.heads.protocol import HeadOutputs, dense_outputs
from headstart.structures import CellIndex, DenseOutputs, Detections, Features, ImageBatch
from headstart.teachers.base import TEACHER
from headstart.teachers.frozen import Frozen
from headstart.teachers.own_size import OwnSize
from headstart.teachers.store import Part, Store, view_keys

CELL = ("level", "y", "x", "anchor")


class Stored(Frozen):
    """A `Frozen` with a `Store`. Kept are, for each view, as far as methods ask for them:

    neck, backbone   the maps of the pyramid (of which regions are read, too) and of the stages
    cls_tower/3 ...  the maps of a place inside a dense head
    outputs          the predictions of a dense head
    detections       boxes, scores, labels and cells after selection

    all at the teacher's own cells. What belongs to the student's regions (`at`) is computed from the pyramid every
    time, and so are a two-stage head's outputs. Of a batch only the images are passed through the teacher whose view is
    not there yet, at least two at a time: then convolutions on processors give each image the same numbers to the bit,
    whatever is beside it.

    sizes  bytes of an image by the name of what is kept, as last seen
    """

    def __init__(
        self,
        model: Detector,
        class_map: Mapping[str, str | None] | None = None,
        *,
        store: Store,
        name: str = TEACHER,
        own: OwnSize | None = None,
    ) -> None:
        super().__init__(model, class_map, name=name, own=own)
        self.store = store
        self.opened = False
        self.sizes: dict[str, int] = {}
        self._live = Frozen(model, name=name)
        self._rest: dict[tuple[int, ...], ImageBatch] = {}
        self._keys: list[str] = []
        self._kept: dict[str, list[Part]] = {}

    def open(self) -> int:
        """From here on the store is read and written; before, answers are only measured. Gives the bytes in it."""
        self.opened = True
        self.clear()
        return self.store.open()

    def clear(self) -> None:
        super().clear()
        self._live.clear()
        self._rest, self._keys, self._kept = {}, [], {}

    def features(self, batch: ImageBatch) -> Features:
        """The pyramid for this batch at its own cells; stages are read by `taps` alone."""
        view = self.view(batch)
        if self._features is None:
            backbone, neck = self.model.backbone, self.model.neck
            with self.costs.making("features"):
                maps = self._maps(view, "neck")
            self._features = Features([], backbone.strides, maps, neck.strides)
        self.costs.ask("features")
        return self._features

    def require(self, names: Sequence[str]) -> None:
        super().require(names)
        self._live.require(names)

    def _places(self, batch: ImageBatch, names: Sequence[str]) -> dict[str, list[Tensor]]:
        regions = [name for name in names if name.startswith("region")]
        self.require(names)
        view = self.view(batch)
        found = super()._places(batch, regions) if regions else {}
        return {name: found[name] if name in found else self._maps(view, name) for name in names}

    def _said(self, batch: ImageBatch) -> HeadOutputs:
        if self.model.head.predicts_at != "cells":
            return super()._said(batch)
        view = self.view(batch)
        if self._outputs is None:
            parts = self._parts(view, "outputs", lambda some: _slices(self._predict(some), len(some)))
            self._outputs = _outputs(_joined(parts), view)
        return self._outputs

    def _predict(self, some: ImageBatch) -> dict[str, Tensor]:
        return _flat(dense_outputs(self._live.outputs(some)))

    def _find(self, batch: ImageBatch, view: ImageBatch) -> list[Detections]:
        parts = self._parts(view, "detections", lambda some: [_plain(one) for one in self._live.detections(some)])
        return [_detections(part) for part in parts]

    def _maps(self, view: ImageBatch, name: str) -> list[Tensor]:
        """The maps of a place."""

        def make(some: ImageBatch) -> list[Part]:
            maps = self._live.taps(some, [name])[name]
            return _slices({str(level): value for level, value in enumerate(maps)}, len(some))

        found = _joined(self._parts(view, name, make))
        return [found[str(level)] for level in range(len(found))]

    def _parts(self, view: ImageBatch, name: str, make: Callable[[ImageBatch], list[Part]]) -> list[Part]:
        """What is kept under a name, image by image; `make` gives it for a batch of those that lack it."""
        if name in self._kept:
            return self._kept[name]
        device = view.pixels.device
        found: list[Part | None] = [None] * len(view)
        if self.opened:
            self._keys = self._keys or view_keys(view)
            read = [self.store.get(key, name) for key in self._keys]
            found = [part and {key: value.to(device) for key, value in part.items()} for part in read]
        missing = [number for number, part in enumerate(found) if part is None]
        if missing:
            chosen = missing if len(missing) > 1 else sorted({missing[0], (missing[0] + 1) % len(view)})
            with torch.no_grad():
                made = make(self._some(view, tuple(chosen)))
            self.sizes[name] = sum(value.numel() * value.element_size() for value in made[0].values())
            for number, part in zip(chosen, made):
                if number in missing and self.opened:
                    self.store.put(self._keys[number], name, part)
                if number in missing:
                    found[number] = part
        self._kept[name] = [part for part in found if part is not None]
        return self._kept[name]

    def _some(self, view: ImageBatch, chosen: tuple[int, ...]) -> ImageBatch:
        """Some images of a batch, as an object of their own that is the same for the same ones."""
        if len(chosen) == len(view):
            return view
        if chosen not in self._rest:
            rows = list(chosen)
            self._rest[chosen] = ImageBatch(
                view.pixels[rows],
                [view.sizes[row] for row in rows],
                [view.ids[row] for row in rows],
                [view.originals[row] for row in rows],
            )
        return self._rest[chosen]


def stored(teachers: Sequence[Frozen]) -> list[Stored]:
    """Those of the teachers that have a store."""
    return [teacher for teacher in teachers if isinstance(teacher, Stored)]


def folder_of(teacher: Stored) -> Path:
    """Where its answers are kept."""
    return teacher.store.folder / teacher.store.teacher


def _flat(outputs: DenseOutputs) -> dict[str, Tensor]:
    """The predictions of a dense head by names such as `cls.0`, without its trace."""
    groups: dict[str, Sequence[Tensor]] = {"cls": outputs.cls, "reg": outputs.reg, "quality": outputs.quality or ()}
    groups |= {f"earlier.{stage}": maps for stage, maps in enumerate(outputs.earlier)}
    return {f"{name}.{level}": value for name, maps in groups.items() for level, value in enumerate(maps)}


def _outputs(values: Part, view: ImageBatch) -> DenseOutputs:
    """The inverse of `_flat`."""

    def maps(name: str) -> list[Tensor]:
        count = sum(key.rpartition(".")[0] == name for key in values)
        return [values[f"{name}.{level}"] for level in range(count)]

    stages = len({key.split(".")[1] for key in values if key.startswith("earlier.")})
    earlier = tuple(maps(f"earlier.{stage}") for stage in range(stages))
    return DenseOutputs(maps("cls"), maps("reg"), maps("quality") or None, view.sizes, earlier=earlier)


def _slices(values: Mapping[str, Tensor], count: int) -> list[Part]:
    """Tensors (B, ...) of a batch as those (1, ...) of its images."""
    return [{name: value[row : row + 1] for name, value in values.items()} for row in range(count)]


def _joined(parts: Sequence[Part]) -> Part:
    """The inverse of `_slices`."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _plain(found: Detections) -> Part:
    """What was found in an image as tensors by name."""
    cells = {name: getattr(found.cells, name) for name in CELL}
    return {"boxes": found.boxes, "scores": found.scores, "labels": found.labels, **cells}


def _detections(part: Part) -> Detections:
    """The inverse of `_plain`."""
    cells = CellIndex(*(part[name] for name in CELL))
    return Detections(part["boxes"], part["scores"], part["labels"], cells)
