"""A detector: normalise, backbone, neck, head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.backbones import Backbone
from headstart.errors import UserError
from headstart.heads.labelled import loss_of_labelled
from headstart.heads.protocol import ExtraLoss, Head, HeadOutputs
from headstart.necks import Neck
from headstart.structures import Assignment, Detections, Features, ImageBatch, Targets

ORDERS = ("RGB", "BGR")


class Detector(nn.Module):
    """Everything between raw RGB pixels and boxes, its own normalisation included.

    backbone   pixels -> stages; `channels`, `strides` (headstart.backbones)
    neck       stages -> pyramid; `strides` (headstart.necks)
    head       pyramid -> outputs; assign, loss, decode, proposals (headstart.heads)
    classes    the K names, in the order of the labels
    order      in which the weights want the channels, "RGB" or "BGR" (Caffe's); batches are RGB always
    mean, std  of values in 0..255, in that order, applied to the input
    pad        the raw value, 0..255 in all channels, of the padding; None: it is zero after normalisation
    recipe     the keyword arguments of `build_detector` that make this detector again, or {} when built by hand

    Forward and loss are the same in training and evaluation; only norms and dropout know the mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        neck: Neck,
        head: Head,
        classes: Sequence[str],
        *,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        order: str = "RGB",
        pad: float | None = None,
        recipe: dict[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.classes = tuple(classes)
        self.order, self.pad = check_order(order), check_pad(pad)
        self.recipe = recipe or {}
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def normalise(self, batch: ImageBatch) -> Tensor:
        """(B, 3, H, W) in the dtype of the weights; outside each image's valid area zero, or the normalised `pad`."""
        raw = batch.pixels if self.order == "RGB" else batch.pixels.flip(1)
        pixels = (raw.to(self.mean.dtype) - self.mean) / self.std
        filling: Tensor | int = 0 if self.pad is None else ((self.pad - self.mean) / self.std)[0]
        height, width = pixels.shape[-2:]
        for image, (valid_height, valid_width) in enumerate(batch.sizes):
            if valid_height < height:
                pixels[image, :, valid_height:] = filling
            if valid_width < width:
                pixels[image, :, :, valid_width:] = filling
        return pixels

    def extract(self, batch: ImageBatch) -> Features:
        """The backbone's stages and the neck's pyramid."""
        stages = self.backbone(self.normalise(batch))
        return Features(stages, self.backbone.strides, self.neck(stages), self.neck.strides)

    def forward(self, batch: ImageBatch, targets: list[Targets] | None = None, *, trace: bool = False) -> HeadOutputs:
        """The head's outputs. Two-stage heads read sampled regions if given targets, else their proposals."""
        return self.head(self.extract(batch), batch.sizes, targets, trace=trace)

    def assign(self, outputs: HeadOutputs, targets: list[Targets]) -> Assignment:
        """Which prior of the head (of its RPN, in a two-stage detector) answers for which object."""
        return self.head.assign(outputs, targets)

    def loss(
        self, outputs: HeadOutputs, targets: list[Targets], assignment: Assignment | None = None
    ) -> dict[str, Tensor]:
        """The detection losses of outputs made with the same targets, by name: scalars.

        `assignment` is made here unless it was made before (`assign`). Images without labels take no part.
        """
        assigned = self.assign(outputs, targets) if assignment is None else assignment
        return loss_of_labelled(self.head, outputs, targets, assigned)

    def last_part(self, on: bool) -> None:
        """Whether its training is in the last part, without mosaic, where some heads have a loss more.

        That is a head with `extra_l1` (YOLOX's); to the others it makes no difference. Given before every step, by the
        step alone, so that it need not be saved.
        """
        if isinstance(self.head, ExtraLoss):
            self.head.extra_l1 = on

    @torch.no_grad()
    def detect(self, batch: ImageBatch) -> list[Detections]:
        """Boxes per image, best first, in pixels of the padded input. Call `eval()` before."""
        return self.head.decode(self(batch), batch.sizes)


def check_order(order: str) -> str:
    """The order itself. Raises UserError if it is none."""
    if order not in ORDERS:
        raise UserError(f"the order of the channels must be RGB or BGR, not '{order}'")
    return order


def check_pad(pad: float | None) -> float | None:
    """The value itself. Raises UserError if it is no pixel value."""
    if pad is not None and not 0 <= pad <= 255:
        raise UserError(f"the value of the padding must lie between 0 and 255, not {pad:g}")
    return pad
