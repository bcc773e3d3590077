"""The R-CNN box head: RoIAlign, a few layers, a class and a box per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import clip_boxes_to_image

from headstart.boxes import decode_deltas, encode_deltas
from headstart.heads.convention import CONVENTIONS, ConventionName
from headstart.heads.init import draw_he, draw_normal, draw_xavier
from headstart.heads.pooling import read_regions
from headstart.heads.rebuildable import Rebuildable
from headstart.heads.selection import DETECTIONS, Selection
from headstart.losses.box import smooth_l1
from headstart.losses.classification import cross_entropy
from headstart.losses.normalise import divisor
from headstart.options import Amount, Depth, Layers, Number, Width
from headstart.ordering import stable_nms
from headstart.structures import Detections, RegionOutputs, Regions, Size

Stds = tuple[float, float, float, float]

STDS: Stds = (0.1, 0.1, 0.2, 0.2)

BoxHeadName = Literal["2fc", "4conv1fc"]

BOX_HEADS: dict[BoxHeadName, tuple[int, int]] = {"2fc": (0, 2), "4conv1fc": (4, 1)}
"""`convs` and `fcs` of box heads by name: Faster R-CNN's, and those of torchvision's second version."""


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """Options of everything that reads regions.

    convs       3 x 3 convolutions of a crop, as wide as the pyramid, each with batch norm
    fcs         fully connected layers after them, which `layers` names fc0, fc1 ...
    hidden      width of these layers
    grid        cells of a crop per side
    selection   how detections are chosen
    convention  whose weights these are
    """

    convs: Layers = 0
    fcs: Depth = 2
    hidden: Width = 1024
    grid: Depth = 7
    selection: Selection = DETECTIONS
    convention: ConventionName = "mmdetection"


@dataclass(frozen=True, kw_only=True)
class BoxHeadOptions(RegionOptions):
    """Options of Faster R-CNN's box head.

    class_agnostic  one box per region whatever its class, as cascades need it; else one for each class
    extra_logits    further class outputs, behind the background's, that belong to no class and only take part in the
                    softmax (unused numbers of an imported file)
    stds            the units of R-CNN's delta code
    beta            where the smooth L1 of the box loss turns into L1; 0: L1
    """

    class_agnostic: bool = False
    extra_logits: Number = 0
    stds: Stds = STDS
    beta: Amount = 0.0

    aliases: ClassVar[Mapping[str, str]] = {"agnostic": "class_agnostic", "void": "extra_logits"}


class BoxHead(Rebuildable[BoxHeadOptions]):
    """The box head of Faster R-CNN on the first four levels of a pyramid.

    `strides` are those of the levels it pools from; a region of w x h pixels is read at level
    floor(log2(sqrt(w h) / 56)), counted from the first level whatever its stride (HEAD pools the student from P3..P6,
    its teacher from P2..P5: the same rule, index-aligned).

    The first fully connected layer reads a crop cell by cell, all channels of a cell together: as pooling leaves it,
    so that nothing is copied. Others read channel by channel; `cell_by_cell` reorders their weights.

    Losses over all regions R of the batch: `cls` cross-entropy / R, `box` L1 of the positives / R.
    Checked against mmdetection (tests/parity, two_stage_faster and two_stage_cascade).
    """

    Options = BoxHeadOptions
    finest_scale = 56.0

    def __init__(
        self, num_classes: int, channels: int, strides: Sequence[int], options: BoxHeadOptions = BoxHeadOptions()
    ) -> None:
        super().__init__()
        self.hparams = options
        self.num_classes, self.strides = num_classes, list(strides)[:4]
        self.grid, self.hidden, self.stds, self.beta = options.grid, options.hidden, options.stds, options.beta
        self.class_agnostic, self.selection = options.class_agnostic, options.selection
        self.convention = CONVENTIONS[options.convention]
        crops = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(options.convs)]
        sides = [channels * self.grid * self.grid] + [self.hidden] * (options.fcs - 1)
        vectors = [nn.Linear(side, self.hidden) for side in sides]
        self.convs, self.fcs = nn.ModuleList(crops), nn.ModuleList(vectors)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in crops)
        self.layers = tuple(f"fc{index}" for index in range(options.fcs))
        self.cls = nn.Linear(self.hidden, num_classes + 1 + options.extra_logits)
        self.reg = nn.Linear(self.hidden, 4 if self.class_agnostic else num_classes * 4)
        for conv in crops:
            draw_he(conv)
        for fc in vectors:
            draw_xavier(fc)
        draw_normal(self.cls, 0.01)
        draw_normal(self.reg, 0.001)

    def rebuild_options(self) -> BoxHeadOptions:
        """Its own but for `extra_logits`, which only mean something in the file that has them."""
        return replace(self.hparams, extra_logits=0)

    def pool(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """(R, C, grid, grid) crops of every image's boxes, in order, by RoIAlign."""
        image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
        every = torch.cat(boxes)
        side = (every[:, 2:] - every[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        level = torch.log2(side / self.finest_scale + 1e-6).floor().clamp(0, len(self.strides) - 1).long()
        rule = self.convention
        return read_regions(
            pyramid,
            self.strides,
            image,
            every,
            level,
            self.grid,
            aligned=rule.aligned,
            sampling_ratio=rule.sampling_ratio,
        )

    def read(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> list[Tensor]:
        """What `layers` give at given boxes (one (R_i, 4) per image), before their activations: [fc] (R, hidden)."""
        return self._run_layers(self._vectors(self.pool(pyramid, boxes)))

    def _vectors(self, crops: Tensor) -> Tensor:
        """Crops (R, C, grid, grid) as the first fully connected layer reads them: (R, C * grid * grid)."""
        for conv, norm in zip(self.convs, self.norms):
            crops = functional.relu(norm(conv(crops)))
        return crops.permute(0, 2, 3, 1).flatten(1)

    def _run_layers(self, x: Tensor, start: int = 0) -> list[Tensor]:
        hidden = []
        for fc in self.fcs[start:]:
            hidden.append(fc(x))
            x = functional.relu(hidden[-1])
        return hidden

    def _predict(self, hidden: list[Tensor], last: Tensor) -> RegionOutputs:
        x = functional.relu(last)
        return RegionOutputs(hidden, self.cls(x), self.reg(x))

    def forward_crops(self, crops: Tensor) -> RegionOutputs:
        """Classes and boxes of crops (R, C, grid, grid): what `pool` gives."""
        hidden = self._run_layers(self._vectors(crops))
        return self._predict(hidden, hidden[-1])

    def resume(self, hidden: Tensor, *, start: int) -> RegionOutputs:
        """Enter at fully connected layer `start`, 1 to their number, with what layer `start` - 1 gave: (R, D), before
        its activation. The `hidden` of the result are the layers that were run.

        Raises ValueError for a `start` outside that range: what layer 0 reads is no vector but a crop.
        """
        if not 1 <= start <= len(self.fcs):
            raise ValueError(f"start must be from 1 to {len(self.fcs)}, not {start}")
        found = self._run_layers(functional.relu(hidden), start)
        return self._predict(found, found[-1] if found else hidden)

    def forward(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> RegionOutputs:
        """Classes and boxes at given boxes, one (R_i, 4) xyxy pixels per image. Pure: sampling lives elsewhere."""
        return self.forward_crops(self.pool(pyramid, boxes))

    def loss(self, outputs: RegionOutputs, regions: list[Regions]) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars; `regions` are those whose boxes were read, image by image."""
        labels = torch.cat([r.labels for r in regions])
        boxes, matched = torch.cat([r.boxes for r in regions]), torch.cat([r.matched for r in regions])
        count = divisor(torch.tensor(float(len(labels)), device=labels.device))
        rows = (labels < self.num_classes).nonzero().flatten()
        reg = self._codes(outputs)[rows, self._column(labels[rows])]
        box = smooth_l1(reg, encode_deltas(boxes[rows], matched[rows], self.stds), self.beta)
        return {"cls": cross_entropy(outputs.cls.float(), labels) / count, "box": box / count}

    def codes_of(self, outputs: RegionOutputs, labels: Tensor) -> Tensor:
        """The box code (R, 4) of each region for a class of its own, labels (R,) int64."""
        rows = torch.arange(len(labels), device=labels.device)
        return self._codes(outputs)[rows, self._column(labels)]

    def boxes_of(self, outputs: RegionOutputs, boxes: Tensor, labels: Tensor) -> Tensor:
        """What becomes of each of boxes (R, 4) for a class of its own, labels (R,) int64: (R, 4), not clipped."""
        return self._decoded(boxes, self.codes_of(outputs, labels))

    def _codes(self, outputs: RegionOutputs) -> Tensor:
        """(R, K, 4), or (R, 1, 4) where all classes share a box."""
        return outputs.reg.float().reshape(len(outputs.reg), 1 if self.class_agnostic else self.num_classes, 4)

    def _column(self, labels: Tensor) -> Tensor:
        """Which of a region's boxes is that of a class: (N,) -> (N,)."""
        return torch.zeros_like(labels) if self.class_agnostic else labels

    def _decoded(self, boxes: Tensor, codes: Tensor) -> Tensor:
        return decode_deltas(boxes, codes, self.stds, shrink_limit=self.convention.shrink_limit)

    @torch.no_grad()
    def refine(self, outputs: RegionOutputs, boxes: list[Tensor], sizes: list[Size]) -> list[Tensor]:
        """The boxes that the head makes of those it read, row by row: (R_i, 4) per image, clipped to it.

        Where every class has its own, the box of the likeliest class.
        """
        best = outputs.cls[:, : self.num_classes].argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        codes = self._codes(outputs)[rows, self._column(best)].split([len(b) for b in boxes])
        return [clip_boxes_to_image(self._decoded(b, c), size) for b, c, size in zip(boxes, codes, sizes)]

    @torch.no_grad()
    def decode(self, outputs: RegionOutputs, proposals: list[Detections], sizes: list[Size]) -> list[Detections]:
        """Detections per image: every class of every region above the threshold, NMS within each class.

        Boxes too small after clipping are dropped, as by dense heads.
        """
        counts = [len(p) for p in proposals]
        scores = outputs.cls.float().softmax(dim=1)[:, : self.num_classes].split(counts)
        codes = self._codes(outputs).split(counts)
        return [self._decode_image(*image) for image in zip(scores, codes, proposals, sizes)]

    def _decode_image(self, scores: Tensor, codes: Tensor, proposals: Detections, size: Size) -> Detections:
        rows, labels = (scores > (self.selection.score_threshold or 0.0)).nonzero(as_tuple=True)
        codes = codes[rows, self._column(labels)]
        boxes = clip_boxes_to_image(self._decoded(proposals.boxes[rows], codes), size)
        found = Detections(boxes, scores[rows, labels], labels, proposals.cells[rows])
        found = found[self.selection.large_enough(boxes)]
        kept = stable_nms(found.boxes, found.scores, found.labels, self.selection.iou_threshold)
        return found[kept[: self.selection.max_detections]]


def cell_by_cell(weight: Tensor, grid: int) -> Tensor:
    """A first layer's weight (D, C * grid * grid), as torchvision and mmdetection order its input, in our order."""
    return weight.unflatten(1, (-1, grid * grid)).transpose(1, 2).flatten(1)
