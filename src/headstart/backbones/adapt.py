"""Changes timm's backbones to those of imported detectors: strides, epsilons of norms, Swin's windows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.backbones.swin import DetectionSwin
from headstart.errors import UserError


def adapt(
    body: nn.Module,
    name: str,
    *,
    first_stride: bool = False,
    norm_eps: float | None = None,
    normed_stages: Sequence[int] | None = None,
) -> nn.Module:
    """The backbone with these changes; the keys of its state dict stay timm's.

    first_stride   a bottleneck block halves its map in its first convolution, as ResNets converted from Caffe do, and
                   not in its 3x3 one
    norm_eps       another epsilon for every batch norm
    normed_stages  of a Swin: only these stages (0: C2), with a layer norm on each, and windows as mmdetection lays them

    Raises UserError for a change that the backbone, called `name` in the sentence, cannot have.
    """
    if normed_stages is not None:
        if not any(key.endswith("relative_position_bias_table") for key in body.state_dict()):
            raise UserError(f"normed_stages is for Swin, not for {name}")
        body = DetectionSwin(body, normed_stages)
    if first_stride:
        stride_first(body, name)
    if norm_eps is not None:
        for module in body.modules():
            if isinstance(module, _BatchNorm):
                module.eps = norm_eps
    return body


def stride_first(body: nn.Module, name: str) -> None:
    """Moves the stride of every bottleneck block from its 3x3 convolution to the 1x1 one before.

    Raises UserError for a backbone without such blocks.
    """
    moved = 0
    for block in body.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if hasattr(block, "conv3") and isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
            first.stride, second.stride = second.stride, (1, 1)
            moved += first.stride != (1, 1)
    if not moved:
        raise UserError(f"first_stride is for ResNets with bottleneck blocks (50 layers or more), {name} has none")
