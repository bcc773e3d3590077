"""How large a detector is, without weights: parameters, and the multiplications of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from headstart.detectors.detector import Detector
from headstart.detectors.zoo import build_detector
from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.structures import ImageBatch, Size

PROPOSALS = 1000
"""Regions that each box head is taken to read."""


@dataclass(frozen=True)
class ModelSize:
    """parameters: how many numbers are learned or frozen; macs: multiply-accumulates for one image."""

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each of `macs`. Papers often write FLOPs and mean MACs."""
        return 2 * self.macs


def build_on_meta(name: str, *, classes: int = 80, backbone: str | None = None, **options: object) -> Detector:
    """The detector called `name` without weights (on torch's meta device): to look at, not to run."""
    with torch.device("meta"):
        named = [f"class {i}" for i in range(classes)]
        return build_detector(name, named, backbone=backbone, pretrained=False, **options).eval()


@torch.no_grad()
def count_flops(detector: Detector, size: Size = (800, 1280)) -> ModelSize:
    """The size of a detector of `build_on_meta`, for one image of `size` (height, width) pixels.

    Nothing is allocated or computed.

    Convolutions and matrix products of backbone, pyramid and head are counted, the box heads at 1000 regions; norms,
    activations, RoIAlign and NMS are not.
    """
    with torch.device("meta"):
        batch = ImageBatch(torch.zeros(1, 3, *size), [size], [0], [size])
        counter = FlopCounterMode(display=False, custom_mapping={torch.ops.torchvision.deform_conv2d: _deformable})
        with counter:
            _run(detector, batch)
    parameters = sum(p.numel() for p in detector.parameters())
    return ModelSize(parameters, counter.get_total_flops() // 2)


def _run(detector: Detector, batch: ImageBatch) -> None:
    features = detector.extract(batch)
    head = detector.head
    if not isinstance(head, RPNBasedHead):
        head(features, batch.sizes)
        return
    head.rpn(features, batch.sizes)
    width = features.pyramid[0].shape[1]
    for boxes in (module for module in head.modules() if isinstance(module, BoxHead)):
        boxes.forward_crops(torch.zeros(PROPOSALS, width, boxes.grid, boxes.grid))


def _deformable(maps: Sequence[int], weight: Sequence[int], *_: object, out_shape: Sequence[int], **__: object) -> int:
    """Flops of a deformable convolution, which torch does not know: those of the plain one."""
    batch, channels, height, width = out_shape
    return 2 * batch * channels * height * width * weight[1] * weight[2] * weight[3]
