"""A backbone from a name: which timm model, which of its maps, which weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.backbones import mobilenet
from headstart.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from headstart.backbones.names import resolve_name
from headstart.backbones.pretrained import create_pretrained, load_file
from headstart.backbones.swin import DetectionSwin
from headstart.errors import UserError

OWN_BODIES: dict[str, Callable[..., nn.Module]] = {
    "mnv2": mobilenet.LeakyMobileNetV2,
    "mnv3l_pair": mobilenet.PairMobileNetV3,
}
"""Extractors that take other maps from a timm model than timm would give."""

_WANTED = (4, 8, 16, 32)
_NEEDED = (8, 16, 32)


def build_backbone(
    name_or_module: str | nn.Module,
    *,
    pretrained: bool | str | Path = True,
    frozen_stages: int = 0,
    norm_eval: bool = False,
    channels: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
    first_stride: bool = False,
    norm_eps: float | None = None,
    normed_stages: Sequence[int] | None = None,
) -> Backbone:
    """The feature extractor of a detector.

    name_or_module  a short name (`r18`, `mnv2`, ...), any timm name whose model has strides 8, 16 and 32, or a module
                    that returns a list of maps, finest first
    pretrained      True: ImageNet weights through timm; False: from scratch; a path: a state dict in timm's names
                    (.safetensors, or .pth that holds tensors only). A module brings its own weights.
    channels, strides   what a module's maps are announced to be; checked, may be left out
    first_stride    a bottleneck block halves its map in its first convolution, as ResNets converted from Caffe do, and
                    not in its 3x3 one
    norm_eps        another epsilon for every batch norm
    normed_stages   of a Swin: only these stages (0: C2) with a layer norm on each, and windows as mmdetection lays them

    Raises UserError for an unknown name, missing strides, weights that cannot be fetched or do not fit.
    """
    if isinstance(name_or_module, nn.Module):
        if isinstance(pretrained, str | Path):
            raise UserError("a backbone given as a module brings its own weights: load them before, not by path")
        given: dict[str, Any] = {
            "channels": channels,
            "strides": strides,
            "frozen_stages": frozen_stages,
            "norm_eval": norm_eval,
        }
        return Backbone(name_or_module, name=type(name_or_module).__name__, **given)
    if channels is not None or strides is not None:
        raise UserError(f"channels and strides of backbone '{name_or_module}' follow from its name: leave them out")
    timm_name = resolve_name(name_or_module)
    body, picked = _create(name_or_module, timm_name, pretrained)
    settings = getattr(body, "pretrained_cfg", None) or {}
    if normed_stages is not None:
        if not timm_name.startswith("swin_"):
            raise UserError(f"normed_stages is for Swin, not for {name_or_module}")
        body, picked = DetectionSwin(body, normed_stages), None
    if first_stride:
        stride_first(body, name_or_module)
    if norm_eps is not None:
        for module in body.modules():
            if isinstance(module, _BatchNorm):
                module.eps = norm_eps
    return Backbone(
        body,
        name=name_or_module,
        picked=picked,
        mean=settings.get("mean") or IMAGENET_MEAN,
        std=settings.get("std") or IMAGENET_STD,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
    )


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


def _create(name: str, timm_name: str, pretrained: bool | str | Path) -> tuple[nn.Module, list[int] | None]:
    make: Callable[..., Any] = OWN_BODIES.get(name) or _features_of(timm_name)
    body = create_pretrained(make, name, timm_name) if pretrained is True else make(pretrained=False)
    picked = None if name in OWN_BODIES else _pick_stages(name, body.feature_info.reduction())
    if not isinstance(pretrained, bool):
        load_file(body, name, Path(pretrained))
    return body, picked


def _features_of(timm_name: str) -> Callable[..., Any]:
    # Windowed transformers refuse every size but the one they were trained at unless told.
    size_options: dict[str, Any] = {"strict_img_size": False} if timm_name.startswith("swin") else {}

    def make(**options: Any) -> Any:
        import timm

        try:
            return timm.create_model(timm_name, features_only=True, **size_options, **options)
        except (RuntimeError, ValueError, AttributeError) as error:
            if options.get("pretrained"):
                raise
            raise UserError(f"timm cannot give the intermediate maps of {timm_name}: {error}") from error

    return make


def _pick_stages(name: str, reductions: list[int]) -> list[int]:
    missing = [stride for stride in _NEEDED if stride not in reductions]
    if missing:
        offered = ", ".join(str(r) for r in sorted(set(reductions)))
        raise UserError(
            f"a detector's backbone needs maps at strides 8, 16 and 32; {name} offers {offered} only. "
            "Use a hierarchical model such as r50, mnv2, swin_t or convnext_t"
        )
    last = {stride: index for index, stride in enumerate(reductions)}
    return [last[stride] for stride in _WANTED if stride in last]
