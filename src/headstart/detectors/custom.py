"""Students that are not ours: what a detector must have so that methods can train it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from headstart.backbones import Backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.protocol import Head
from headstart.necks import Neck
from headstart.structures import Assignment, Detections, Features, ImageBatch, Size, Targets


class Student(Protocol):
    """A detector of anybody's, a `torch.nn.Module`, that can be wrapped by `CustomDetector` and trained by a method.

    In each training step `maps` is called first and `loss` later, once each and with the same batch object, so that
    `loss` can go on from what `maps` has computed. `detect` may be called in between, in evaluation mode and without
    gradient; it must not change what `loss` goes on from.

    classes   the K names, in the order of the labels
    strides   of its maps, finest first, pixels: powers of two, each twice the one before
    channels  of its maps, in the same order
    """

    classes: Sequence[str]
    strides: Sequence[int]
    channels: Sequence[int]

    def maps(self, batch: ImageBatch) -> list[Tensor]:
        """Its pyramid, (B, channels[l], H_l, W_l) per level; with gradient. It normalises the raw pixels itself."""
        ...

    def loss(self, batch: ImageBatch, targets: list[Targets]) -> dict[str, Tensor]:
        """Its own detection losses, by name: scalars. `Targets.wanted` leaves out the ignored boxes.

        An image whose `Targets.labelled` is false must take no part. A student whose loss sees to that says so by an
        attribute `leaves_out_unlabelled = True`; others are given labelled images only.
        """
        ...

    def detect(self, batch: ImageBatch) -> list[Detections]:
        """Boxes per image, best first, pixels of the padded input; `CellIndex.none(N)` for their cells."""
        ...


@dataclass(frozen=True)
class CustomOutputs:
    """What stands in for a head's outputs: the batch, of which the student is asked for losses and boxes."""

    batch: ImageBatch


class CustomHead(nn.Module):
    """The student as a head of unknown make: it has losses and boxes, but no tower or layer that could be entered."""

    predicts_at = "cells"
    num_anchors = 1
    tower_shape = None
    box_heads = ()
    regions_per_image = 0

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        known = cast(Student, model)
        self.strides, self.num_classes = list(known.strides), len(known.classes)

    @property
    def predictor(self) -> CustomHead:
        return self

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> CustomOutputs:
        if not isinstance(features, CustomFeatures):
            raise TypeError("a custom student reads what its own `extract` gave")
        return CustomOutputs(features.batch)

    @torch.no_grad()
    def proposals(self, outputs: CustomOutputs, sizes: list[Size]) -> list[Detections]:
        """What it detects, by a pass of its own in evaluation mode: the regions that R-CNN assistants read."""
        mode = self.model.training
        self.model.eval()
        try:
            return cast(Student, self.model).detect(outputs.batch)
        finally:
            self.model.train(mode)

    def tap_names(self) -> list[str]:
        return []

    def keep_taps(self, outputs: CustomOutputs, names: Collection[str]) -> CustomOutputs:
        return outputs


@dataclass(frozen=True)
class CustomFeatures(Features):
    """A student's maps and the pyramid made of them, with the batch that they are of."""

    batch: ImageBatch


class Projection(Neck):
    """Maps of various widths to one width: a 1x1 convolution for each level, nothing where all have it already."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int | None) -> None:
        super().__init__()
        self.width, self.strides = width or max(channels), list(strides)
        alike = set(channels) == {self.width}
        self.convs = nn.ModuleList(nn.Identity() if alike else nn.Conv2d(c, self.width, 1) for c in channels)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        return [conv(maps) for conv, maps in zip(self.convs, stages, strict=True)]


class Maps(nn.Module):
    """The student's maps in the place of a backbone's stages."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.strides = list(channels), list(strides)


class CustomDetector(Detector):
    """A `Student` for `build_method`: HEAD with `ckd=False`, the methods on pyramids (PKD ...), GID and SGFI train it.

    Where its maps differ in width, 1x1 convolutions bring them to one; they are trained with the rest and are no part
    of `model`, which alone is to be kept.

    model  a module that has what `Student` says
    width  of the pyramid that assistants and feature methods read, channels; None: that of the widest map

    Raises UserError for a model that lacks something of `Student`, or whose strides do not double.
    """

    def __init__(self, model: nn.Module, *, width: int | None = None) -> None:
        missing = [
            name for name in ("classes", "strides", "channels", "maps", "loss", "detect") if not hasattr(model, name)
        ]
        if missing:
            raise UserError(
                f"{type(model).__name__} cannot be a student: it has no {' and no '.join(missing)}; "
                "headstart.detectors.custom.Student says what each must be"
            )
        known = cast(Student, model)
        strides, channels = list(known.strides), list(known.channels)
        doubled = all(b == 2 * a for a, b in pairwise(strides))
        if not strides or not doubled or strides[0] & (strides[0] - 1) or len(channels) != len(strides):
            raise UserError(
                f"{type(model).__name__} cannot be a student: its strides must be powers of two, each twice the one "
                f"before, with as many channels; found strides {strides} and channels {channels}"
            )
        body, head = Maps(channels, strides), CustomHead(model)
        super().__init__(cast(Backbone, body), Projection(channels, strides, width), cast(Head, head), known.classes)

    @property
    def model(self) -> nn.Module:
        """The student itself: what is kept and shipped."""
        return cast(CustomHead, self.head).model

    def extract(self, batch: ImageBatch) -> CustomFeatures:
        """The student's maps as stages, and its pyramid."""
        maps = cast(Student, self.model).maps(batch)
        return CustomFeatures(maps, list(self.backbone.strides), self.neck(maps), self.neck.strides, batch)

    def assign(self, outputs: object, targets: list[Targets]) -> Assignment:
        """Nothing: the student assigns objects by itself."""
        none = torch.zeros(0)
        return Assignment(none, none, none, none)

    def loss(self, outputs: object, targets: list[Targets], assignment: Assignment | None = None) -> dict[str, Tensor]:
        if not all(t.labelled for t in targets) and not getattr(self.model, "leaves_out_unlabelled", False):
            raise UserError(
                f"{type(self.model).__name__} computes its losses itself, and does not say that images without labels "
                "take no part in them: see to it in `loss` (Targets.labelled) and set leaves_out_unlabelled = True, or "
                "leave out data.unlabelled"
            )
        return cast(Student, self.model).loss(cast(CustomOutputs, outputs).batch, targets)

    @torch.no_grad()
    def detect(self, batch: ImageBatch) -> list[Detections]:
        return cast(Student, self.model).detect(batch)


def demand_known_head(method: str, student: Detector, remedy: str) -> None:
    """Raises UserError for a student whose head is not one of headstart's, where `method` would enter it."""
    if isinstance(student.head, CustomHead):
        raise UserError(
            f"method {method} needs a student whose head headstart knows, to read its layers or its predictions; "
            f"{type(student.head.model).__name__} has none: {remedy}"
        )
