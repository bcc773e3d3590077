"""Training pictures made of several: a mosaic of four (YOLOv4, arXiv:2004.10934), and a mixture of two (mixup).

As in YOLOX (arXiv:2107.08430) and RTMDet (arXiv:2212.07784), but without a cache: which other images take part is drawn
like every other random number of the picture, so a picture is a function of (seed, epoch, image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headstart.data.dataset import DetectionDataset, Sample
from headstart.data.patch import FILL, Patch, visible_patch
from headstart.data.transforms import TRIES, Transform, draw_below, uniform
from headstart.errors import UserError
from headstart.structures import Size, Targets

CENTRE = (0.5, 1.5)
"""From where to where the point lies at which the four meet, in sides of the picture; the four cover two sides."""


class Mixing:
    """Makes square pictures of `side` px, each from up to five images.

    transform  how the images and the result are scaled, mirrored and recoloured
    mosaic     probability that a picture is a mosaic
    mixup      probability that a picture, mosaic or not, is mixed half and half with one more image
    mixup_mosaic  whether that one is a mosaic with the same probability, as in RTMDet; else it is placed as a plain
               image is, as in YOLOX
    epochs     how many epochs are made so; the ones after that, the last part of a run, are of plain images

    A mosaic: each of four images is resized to fit a square of `side`; they meet at a point drawn from 0.5 to 1.5
    sides on each axis of a canvas of two sides, which cuts them; all this is multiplied by the number that
    `transform.scale` draws, and a window of `side` at a random place of it is the picture. The place is drawn up to ten
    times, until an object is left. Three of the four images are drawn from all, with replacement. What no image covers
    is 114. Where images are turned (`transform.rotate`, `shear`), a larger window is, and its middle is the picture.
    Cropping (`transform.crop`) is left to plain images.
    A mixture: the mean of the pixels, the objects of both.
    Raises UserError for settings that cannot be.
    """

    def __init__(
        self,
        transform: Transform,
        side: int,
        *,
        mosaic: float = 0.0,
        mixup: float = 0.0,
        mixup_mosaic: bool = False,
        epochs: int,
    ) -> None:
        for name, value in {"mosaic": mosaic, "mixup": mixup}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} is a probability between 0 and 1, found {value}.")
        if side < transform.long:
            raise UserError(f"a mosaic of {side} px cannot hold images of {transform.long} px.")
        if transform.resize == "torchvision":
            raise UserError(
                "mosaics are made of whole pixel values, so their images cannot be resized as torchvision does."
            )
        self.transform, self.side, self.mosaic, self.mixup, self.epochs = transform, side, mosaic, mixup, epochs
        self.mixup_mosaic = mixup_mosaic
        self.antialias = transform.resize == "antialias"

    def __call__(self, dataset: DetectionDataset, index: int) -> Sample:
        """The picture of image `index`, with torch's own random numbers.

        It has the id of that image; its size as stored is its own. Raises UserError for an image that cannot be read.
        """
        sample = self._one(dataset, index)
        if self.mixup and torch.rand(()) < self.mixup:
            number = draw_below(len(dataset))
            other = self._one(dataset, number) if self.mixup_mosaic else self.transform.place(dataset[number])
            sample = self._mix(sample, self.transform.mirror(other))
        return self.transform.recolour(self.transform.mirror(sample))

    def _one(self, dataset: DetectionDataset, index: int) -> Sample:
        """A mosaic, or the image alone."""
        if torch.rand(()) < self.mosaic:
            return self._mosaic(dataset, index)
        return self.transform.place(dataset[index])

    def _mosaic(self, dataset: DetectionDataset, index: int) -> Sample:
        members = [index, *torch.randint(len(dataset), (3,)).tolist()]
        sizes = [(int(height), int(width)) for height, width in dataset.sizes[members]]
        notes = [[torch.from_numpy(values.copy()) for values in dataset.annotations(member)] for member in members]
        factor, turn = self.transform.draw_scale(), self.transform.draw_turn()
        window = self.side if turn is None else turn.needed(self.side)
        goal = (self.side, self.side)
        for _ in range(TRIES):
            tiles = self._lay_out(members, sizes, notes, factor, window)
            boxes, labels, ignored = (
                torch.cat([getattr(part, name) for part in (Targets.empty(), *tiles)])
                for name in ("boxes", "labels", "ignored")
            )
            if turn is not None:
                boxes, left = turn.boxes(boxes, ignored, (window, window), goal)
                boxes, labels, ignored = boxes[left], labels[left], ignored[left]
            if bool((~ignored).any()):
                break
        canvas = self._canvas(window)
        for tile in tiles:
            left, top, right, bottom = tile.patch.goal
            canvas[:, top:bottom, left:right] = tile.patch.pixels(dataset[tile.member].image, antialias=self.antialias)
        image = canvas if turn is None else turn.pixels(canvas, goal)
        return Sample(image, boxes, labels, ignored, dataset.image_id(index), goal, dataset.labelled)

    def _lay_out(
        self,
        members: Sequence[int],
        sizes: Sequence[Size],
        notes: Sequence[Sequence[Tensor]],
        factor: float,
        window: int,
    ) -> list[_Tile]:
        """The parts of the four images that are seen through a window of `window` px at a drawn place, with objects.

        The picture is in the window's middle. The window lies within what the four cover if that is large enough, else
        the picture does.
        """
        side = self.side
        extent = round(2 * side * factor)
        # The window's corner, and the meeting point seen from there, in pixels of the picture.
        spare = 0 if extent >= window else (window - side) // 2
        left, top = (draw_below(max(0, extent - window + 2 * spare) + 1) - spare for _ in range(2))
        x, y = (round(side * factor * uniform(*CENTRE)) - corner for corner in (left, top))
        bounds = max(0, -left), max(0, -top), min(window, extent - left), min(window, extent - top)
        tiles = []
        for place, (member, size, note) in enumerate(zip(members, sizes, notes)):
            fit = factor * min(side / size[0], side / size[1])
            height, width = size[0] * fit, size[1] * fit
            on_right, below = place % 2 == 1, place > 1
            edges = (x, y, x + width, y + height)
            if not on_right:
                edges = (x - width, edges[1], x, edges[3])
            if not below:
                edges = (edges[0], y - height, edges[2], y)
            patch = visible_patch(size, edges, bounds)
            if patch is not None:
                tiles.append(_Tile.of(member, patch, *note))
        return tiles

    def _mix(self, one: Sample, other: Sample) -> Sample:
        a, b = (self._on_canvas(sample.image) for sample in (one, other))
        return replace(
            one,
            image=((a ^ b) >> 1) + (a & b),  # the mean, rounded down, without leaving uint8
            boxes=torch.cat([one.boxes, other.boxes]),
            labels=torch.cat([one.labels, other.labels]),
            ignored=torch.cat([one.ignored, other.ignored]),
            original=(self.side, self.side),
        )

    def _on_canvas(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        if (height, width) == (self.side, self.side):
            return image
        canvas = self._canvas(self.side)
        canvas[:, :height, :width] = image
        return canvas

    @staticmethod
    def _canvas(side: int) -> Tensor:
        return torch.full((3, side, side), FILL, dtype=torch.uint8)


@dataclass(frozen=True)
class _Tile:
    """The part of image `member` that is seen, and the objects that are left of it, in pixels of the picture."""

    member: int
    patch: Patch
    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    @staticmethod
    def of(member: int, patch: Patch, boxes: Tensor, labels: Tensor, ignored: Tensor) -> _Tile:
        cut, left = patch.boxes(boxes, ignored)
        return _Tile(member, patch, cut[left], labels[left], ignored[left])
