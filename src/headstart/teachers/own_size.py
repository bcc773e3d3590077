"""A teacher that sees the students' views at a size of its own, and how what it says is brought back to theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as F

from headstart.data.batch import MULTIPLE
from headstart.detectors.detector import Detector
from headstart.structures import Detections, ImageBatch

Ratios = list[tuple[float, float]]
"""Of each image: width and height that the teacher sees, in those of the student's view."""


@dataclass(frozen=True)
class OwnSize:
    """The square of `side` pixels that a teacher's images fit into, where the students' fit into one of `students`."""

    side: int
    students: int

    @property
    def factor(self) -> float:
        """By which the students' views are resized for the teacher."""
        return self.side / self.students

    def view(self, batch: ImageBatch) -> ImageBatch:
        """The same images resized, with antialiasing, each by itself, and padded with 0 to a multiple of 32."""
        goals = [(max(1, round(h * self.factor)), max(1, round(w * self.factor))) for h, w in batch.sizes]
        height, width = (-(-max(side) // MULTIPLE) * MULTIPLE for side in zip(*goals))
        pixels = batch.pixels.new_zeros(len(goals), 3, height, width)
        for canvas, image, (h, w), goal in zip(pixels, batch.pixels, batch.sizes, goals):
            canvas[:, : goal[0], : goal[1]] = F.resize(image[:, :h, :w], list(goal), antialias=True)
        return replace(batch, pixels=pixels, sizes=goals)


def ratios(batch: ImageBatch, view: ImageBatch) -> Ratios:
    """They differ a little from image to image, because sides are whole pixels."""
    return [(own[1] / size[1], own[0] / size[0]) for size, own in zip(batch.sizes, view.sizes)]


def scale_boxes(boxes: Tensor, ratio: tuple[float, float]) -> Tensor:
    """(N, 4) xyxy pixels of a student's view in those of the teacher's."""
    return boxes * boxes.new_tensor([*ratio, *ratio])


def scale_back(found: Sequence[Detections], sides: Ratios) -> list[Detections]:
    """What was found in the teacher's views, in pixels of the students'. The cells stay the teacher's own."""
    return [replace(one, boxes=scale_boxes(one.boxes, (1 / x, 1 / y))) for one, (x, y) in zip(found, sides)]


def resample(maps: Sequence[Tensor], strides: Sequence[int], batch: ImageBatch, view: ImageBatch) -> list[Tensor]:
    """The maps of a teacher's view, [l] (B, C, h, w), at the cells that the same strides have in the student's view.

    Bilinear, at the centres of the student's cells, which lie at `ratios` times their place in the teacher's view;
    beyond the border the value at the border: [l] (B, C, ceil(H / stride), ceil(W / stride)).
    """
    sides = torch.tensor(ratios(batch, view), device=view.pixels.device)
    height, width = batch.pixels.shape[-2:]
    found = []
    for level, stride in zip(maps, strides):
        rows = torch.arange(-(-height // stride), device=level.device) + 0.5
        columns = torch.arange(-(-width // stride), device=level.device) + 0.5
        x = 2 * columns[None] * sides[:, :1] / level.shape[-1] - 1
        y = 2 * rows[None] * sides[:, 1:] / level.shape[-2] - 1
        grid = torch.stack([x[:, None].expand(-1, len(rows), -1), y[:, :, None].expand(-1, -1, len(columns))], -1)
        read = grid_sample(level.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        found.append(read.to(level.dtype))
    return found


class AtOwnSize(nn.Module):
    """A detector that is to be scored at its own size: it finds in the resized view, and boxes are scaled back."""

    def __init__(self, model: Detector, own: OwnSize) -> None:
        super().__init__()
        self.model, self.own = model, own
        self.classes = model.classes

    def detect(self, batch: ImageBatch) -> list[Detections]:
        """Boxes per image, best first, in pixels of the padded input."""
        view = self.own.view(batch)
        return scale_back(self.model.detect(view), ratios(batch, view))
