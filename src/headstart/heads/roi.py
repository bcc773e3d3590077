"""The R-CNN box head: RoIAlign, two fully connected layers, a class and a box per region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from headstart.boxes import clip_boxes, decode_deltas, encode_deltas
from headstart.heads.convention import OWN, Convention
from headstart.heads.dense import DETECTIONS, Selection
from headstart.heads.pooling import read_regions
from headstart.heads.start import draw_normal, draw_xavier
from headstart.losses.box import absolute
from headstart.losses.classification import softmax_entropy
from headstart.losses.normalise import mean_over_ranks
from headstart.structures import Detections, RegionOutputs, Regions, Size

STDS = (0.1, 0.1, 0.2, 0.2)


class BoxHead(nn.Module):
    """Shared2FC of Faster R-CNN on the first four levels of a pyramid.

    strides   of the levels it pools from; a region of w x h pixels is read at level floor(log2(sqrt(w h) / 56)),
              counted from the first level whatever its stride (HEAD pools the student from P3..P6, its teacher
              from P2..P5: the same rule, index-aligned)
    hidden    width of the two layers, pooled to `grid` x `grid` cells
    void      further outputs behind the background that no class belongs to; they only take part in the softmax
              (unused numbers of an imported file)

    The first layer reads a crop cell by cell, all channels of a cell together: as pooling leaves it, so that nothing
    is copied. Others read channel by channel; `cell_by_cell` reorders their weights.

    The regression is class-specific, in R-CNN's delta code with stds 0.1, 0.1, 0.2, 0.2. Losses over all regions R of
    the batch: `cls` cross-entropy / R, `box` L1 of the positives / R.
    Checked against mmdetection (tests/parity, two_stage_faster).
    """

    finest = 56.0
    hidden: int
    grid: int
    num_classes: int

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        *,
        hidden: int = 1024,
        grid: int = 7,
        void: int = 0,
        selection: Selection = DETECTIONS,
        convention: Convention = OWN,
    ) -> None:
        super().__init__()
        self.void, self.convention = void, convention
        self.num_classes, self.strides, self.grid, self.hidden = num_classes, list(strides)[:4], grid, hidden
        self.selection = selection
        first, second = nn.Linear(channels * grid * grid, hidden), nn.Linear(hidden, hidden)
        self.fcs = nn.ModuleList([first, second])
        self.cls = nn.Linear(hidden, num_classes + 1 + void)
        self.reg = nn.Linear(hidden, num_classes * 4)
        for fc in (first, second):
            draw_xavier(fc)
        draw_normal(self.cls, 0.01)
        draw_normal(self.reg, 0.001)

    def pool(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """(R, C, grid, grid) crops of every image's boxes, in order, by RoIAlign."""
        image = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
        every = torch.cat(boxes)
        side = (every[:, 2:] - every[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        level = torch.log2(side / self.finest + 1e-6).floor().clamp(0, len(self.strides) - 1).long()
        rule = self.convention
        return read_regions(
            pyramid,
            self.strides,
            image,
            every,
            level,
            self.grid,
            half_pixel=rule.half_pixel,
            samples=rule.samples,
        )

    def read(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> list[Tensor]:
        """What the layers give at given boxes (one (R_i, 4) per image), before their activations: [fc] (R, hidden)."""
        x = self.pool(pyramid, boxes).permute(0, 2, 3, 1).flatten(1)
        hidden = []
        for fc in self.fcs:
            hidden.append(fc(x))
            x = functional.relu(hidden[-1])
        return hidden

    def forward(self, pyramid: Sequence[Tensor], boxes: list[Tensor]) -> RegionOutputs:
        """Classes and boxes at given boxes. Pure: sampling lives elsewhere."""
        hidden = self.read(pyramid, boxes)
        x = functional.relu(hidden[-1])
        return RegionOutputs(hidden, self.cls(x), self.reg(x))

    def loss(self, outputs: RegionOutputs, regions: list[Regions]) -> dict[str, Tensor]:
        """{"cls", "box"}: scalars; `regions` are those whose boxes were read, image by image."""
        labels = torch.cat([r.labels for r in regions])
        boxes, matched = torch.cat([r.boxes for r in regions]), torch.cat([r.matched for r in regions])
        count = mean_over_ranks(torch.tensor(float(max(len(labels), 1)), device=labels.device))
        rows = (labels < self.num_classes).nonzero().flatten()
        reg = outputs.reg.float().reshape(len(labels), self.num_classes, 4)[rows, labels[rows]]
        box = absolute(reg, encode_deltas(boxes[rows], matched[rows], STDS))
        return {"cls": softmax_entropy(outputs.cls.float(), labels) / count, "box": box / count}

    @torch.no_grad()
    def decode(self, outputs: RegionOutputs, proposals: list[Detections], sizes: list[Size]) -> list[Detections]:
        """Detections per image: every class of every region above the threshold, NMS within each class.

        Boxes too small after clipping are dropped, as by dense heads.
        """
        counts = [len(p) for p in proposals]
        scores = outputs.cls.float().softmax(dim=1)[:, : self.num_classes].split(counts)
        codes = outputs.reg.float().reshape(len(outputs.reg), self.num_classes, 4).split(counts)
        return [self._decode_image(*image) for image in zip(scores, codes, proposals, sizes)]

    def _decode_image(self, scores: Tensor, codes: Tensor, proposals: Detections, size: Size) -> Detections:
        rows, labels = (scores > (self.selection.threshold or 0.0)).nonzero(as_tuple=True)
        limit = self.convention.shrink_limit
        boxes = decode_deltas(proposals.boxes[rows], codes[rows, labels], STDS, shrink_limit=limit)
        boxes = clip_boxes(boxes, size)
        found = Detections(boxes, scores[rows, labels], labels, proposals.pixels[rows])
        found = found[self.selection.solid(boxes)]
        kept = nms(found.boxes + (found.labels * (max(size) + 1))[:, None], found.scores, self.selection.overlap)
        return found[kept[: self.selection.keep]]


def cell_by_cell(weight: Tensor, grid: int) -> Tensor:
    """A first layer's weight (D, C * grid * grid), as torchvision and mmdetection order its input, in our order."""
    return weight.unflatten(1, (-1, grid * grid)).transpose(1, 2).flatten(1)
