"""What travels between the parts: small frozen dataclasses of tensors, documented by their shapes.

Axis alphabet: B images, L levels, N cells or boxes, A anchors per cell, R regions, M ground truths, K classes,
C channels, D vector width. Boxes are xyxy pixels of the padded input. Background is label K.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    import supervision

Size = tuple[int, int]
"""Height and width in pixels."""

Rows = Tensor | slice | int
"""Which rows: indices or a mask, (N,), a slice, or one number."""


class ToDevice:
    """Gives a dataclass `to(...)`, which moves every tensor inside, however nested, and keeps the rest."""

    def to(self, goal: torch.device | torch.dtype | str, *, non_blocking: bool = False) -> Self:
        """The same with every tensor on a device, or of a dtype."""
        moved = {f.name: _move(getattr(self, f.name), goal, non_blocking) for f in fields(self)}  # ty: ignore[invalid-argument-type]
        return replace(self, **moved)  # ty: ignore[invalid-argument-type]


def _move(value: object, goal: torch.device | torch.dtype | str, non_blocking: bool) -> object:
    if isinstance(value, Tensor | ToDevice):
        return value.to(goal, non_blocking=non_blocking)
    if isinstance(value, list):
        return [_move(v, goal, non_blocking) for v in value]
    if isinstance(value, tuple):
        return tuple(_move(v, goal, non_blocking) for v in value)
    if isinstance(value, dict):
        return {key: _move(v, goal, non_blocking) for key, v in value.items()}
    return value


@dataclass(frozen=True)
class ImageBatch(ToDevice):
    """Raw RGB images in one padded tensor; each detector normalises its own copy.

    pixels     (B, 3, H, W) uint8 or float in 0..255, padding 0, H and W multiples of 32
    sizes      valid (height, width) of each image inside the padding
    ids        the data set's own integer id of each image
    originals  (height, width) of each image as stored (EXIF applied), before resizing
    """

    pixels: Tensor
    sizes: list[Size]
    ids: list[int]
    originals: list[Size]

    def __len__(self) -> int:
        return len(self.sizes)


@dataclass(frozen=True)
class Targets(ToDevice):
    """The annotations of one image.

    boxes     (M, 4) xyxy pixels of the padded input
    labels    (M,) int64 in 0..K-1
    ignored   (M,) bool: crowd or difficult; neither an object to find nor background
    labelled  whether anybody has looked for objects in this image. Where not, no part of it is background either: it
              takes no part in any detection loss, and serves distillation alone
    weights   (M,) float in 0..1: how much the priors of each object count in the loss of a dense head's classes; None:
              fully
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    labelled: bool = True
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Rows) -> Targets:
        weights = None if self.weights is None else self.weights[index]
        return replace(
            self, boxes=self.boxes[index], labels=self.labels[index], ignored=self.ignored[index], weights=weights
        )

    @property
    def wanted(self) -> Targets:
        """Without the ignored boxes: what a detector is to find."""
        return self[~self.ignored]

    @staticmethod
    def empty(device: torch.device | str | None = None, *, labelled: bool = True) -> Targets:
        """No box: an image without objects, or one of which nothing is known."""
        return Targets(
            torch.zeros(0, 4, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
            torch.zeros(0, dtype=torch.bool, device=device),
            labelled,
        )


@dataclass(frozen=True)
class CellIndex(ToDevice):
    """The cell of a pyramid that each box came from: four int64 tensors (N,). Level -1 means "no cell"."""

    level: Tensor
    y: Tensor
    x: Tensor
    anchor: Tensor

    def __len__(self) -> int:
        return len(self.level)

    def __getitem__(self, index: Rows) -> CellIndex:
        return CellIndex(self.level[index], self.y[index], self.x[index], self.anchor[index])

    @staticmethod
    def none(count: int, device: torch.device | str | None = None) -> CellIndex:
        """`count` rows without a cell (ground-truth boxes)."""
        blank = torch.full((count,), -1, dtype=torch.int64, device=device)
        return CellIndex(blank, blank, blank, blank)

    @staticmethod
    def cat(parts: list[CellIndex]) -> CellIndex:
        return CellIndex(
            torch.cat([p.level for p in parts]),
            torch.cat([p.y for p in parts]),
            torch.cat([p.x for p in parts]),
            torch.cat([p.anchor for p in parts]),
        )


@dataclass(frozen=True)
class Detections(ToDevice):
    """What a detector found in one image, best first.

    boxes (N, 4) xyxy pixels of the padded input, scores (N,) in 0..1, labels (N,) 0..K-1, cells: their N cells
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    cells: CellIndex

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Rows) -> Detections:
        return Detections(self.boxes[index], self.scores[index], self.labels[index], self.cells[index])

    def to_supervision(self, classes: Sequence[str] | None = None) -> supervision.Detections:
        """A copy for the package `supervision`, see `headstart.report.supervision.convert`."""
        from headstart.report.supervision import convert

        return convert(self, classes)


@dataclass(frozen=True)
class Features(ToDevice):
    """stages [C2..C5] of the backbone and pyramid [P_l] of the neck, each (B, C, H, W), with their strides."""

    stages: list[Tensor]
    stage_strides: list[int]
    pyramid: list[Tensor]
    strides: list[int]


@dataclass(frozen=True)
class DenseOutputs(ToDevice):
    """What a dense head says, level by level, in its own code.

    cls      [l] (B, A*K, H, W) logits, anchor-major; `sizes` are the images' valid (height, width)
    reg      [l] (B, A*R, H, W) in the head's own box code
    quality  [l] (B, A, H, W) logits (centreness, IoU ...), or None where the head has none
    cls_trace, reg_trace  [block][l] (B, C, H, W) what each block of the two towers gives before its activation; empty
             unless traced, and in heads that do not have these towers (the RPN)
    earlier  in heads that refine their boxes, the `reg` of each stage before the last, the first stage's first
    inner    {layer: [l] (B, C, H, W)} other layers, before their activation: those between towers and predictions, and
             the blocks of an RPN's only tower (`tower/0` ...); empty unless traced, or where there are none
    """

    cls: list[Tensor]
    reg: list[Tensor]
    quality: list[Tensor] | None
    sizes: list[Size]
    cls_trace: list[list[Tensor]] = field(default_factory=list)
    reg_trace: list[list[Tensor]] = field(default_factory=list)
    earlier: tuple[list[Tensor], ...] = ()
    inner: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Assignment(ToDevice):
    """Who is responsible for what, flattened over (level, y, x, anchor) per image.

    labels (B, N) int64, background K; boxes (B, N, 4) xyxy target of the positives; positive (B, N) bool;
    weight (B, N) float: 0 where the cell must not be trained (ignored region, outside the image, not sampled);
    earlier: in heads that refine their boxes, the assignments of the stages before the last, the first stage's first
    """

    labels: Tensor
    boxes: Tensor
    positive: Tensor
    weight: Tensor
    earlier: tuple[Assignment, ...] = ()


@dataclass(frozen=True)
class Regions(ToDevice):
    """The RoIs of one image, sampled once per step and shared by everyone who compares.

    boxes (R, 4) xyxy; labels (R,) with background K; matched (R, 4) ground truth of the positives (own box elsewhere);
    cells: the student's cell behind each RoI, level -1 for ground-truth boxes
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor
    cells: CellIndex

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Rows) -> Regions:
        return Regions(self.boxes[index], self.labels[index], self.matched[index], self.cells[index])


@dataclass(frozen=True)
class RegionOutputs(ToDevice):
    """hidden [fc] (R, D) pre-activation, cls (R, K+1) logits (more with `extra_logits`), reg (R, 4*K) or (R, 4).

    All images' regions in order.
    """

    hidden: list[Tensor]
    cls: Tensor
    reg: Tensor


Signal = list[Tensor] | DenseOutputs | RegionOutputs
"""What can be imitated: a map (B, C, H, W) per level, one tensor (R, D) of vectors, or what a head predicts."""


def tensors_of(signal: Signal) -> list[Tensor]:
    """The tensors of a signal; of predictions the classes' and the boxes'."""
    if isinstance(signal, DenseOutputs):
        return [*signal.cls, *signal.reg]
    return [signal.cls, signal.reg] if isinstance(signal, RegionOutputs) else signal


@dataclass(frozen=True)
class Progress:
    """Where training stands: `step` is the 0-based optimiser step, `total` how many there will be.

    first_drop  the step from which the learning rate is first lowered, None if it never is
    """

    step: int
    total: int
    epoch: int = 0
    first_drop: int | None = None


@dataclass(frozen=True)
class Objective:
    """terms: weighted scalars that are summed and differentiated; monitors: plain numbers (detached) to show."""

    terms: dict[str, Tensor]
    monitors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of all terms: the scalar to differentiate, in single precision."""
        return torch.stack([t.float() for t in self.terms.values()]).sum()

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)
