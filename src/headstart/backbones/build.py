"""A backbone from a name: which timm model, which of its maps, which weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from headstart.backbones import mobilenet
from headstart.backbones.adapt import adapt
from headstart.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from headstart.backbones.csp_darknet import CSPDarknet
from headstart.backbones.names import OWN_NAMES, resolve_name
from headstart.backbones.pretrained import create_pretrained, load_file
from headstart.backbones.scalable import Scale, scale_of
from headstart.errors import UserError

if TYPE_CHECKING:
    from timm.models import FeatureListNet

OWN_BODIES: dict[str, Callable[..., nn.Module]] = {
    "mnv2": mobilenet.LeakyMobileNetV2,
    "mnv3l_pair": mobilenet.PairMobileNetV3,
}
"""Short name -> a module that gives other maps of a timm model than timm's feature network does."""

_STRIDES = (4, 8, 16, 32)
_REQUIRED_STRIDES = (8, 16, 32)


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
    widen: float | None = None,
    deepen: float | None = None,
) -> Backbone:
    """The feature extractor of a detector.

    name_or_module  a short name (`r18`, `mnv2`, ...), any timm name whose model has strides 8, 16 and 32, or a module
                    that returns a list of maps, finest first
    pretrained      True: ImageNet weights through timm; False: from scratch; a path: a state dict with the names of
                    timm, torchvision or EfficientNet-PyTorch. A module brings its own weights.
    frozen_stages, norm_eval   what is not trained, see `Backbone`
    channels, strides          of a module's maps, finest first; checked, may be left out
    first_stride, norm_eps, normed_stages   changes of timm's model for the weights of an imported detector, see `adapt`
    widen, deepen   other factors than the name says of the backbones in `scalable.SCALES`, from scratch or from a file

    Raises UserError for an unknown name, missing strides, weights that cannot be fetched or do not fit.
    """
    if isinstance(name_or_module, nn.Module):
        if isinstance(pretrained, str | Path):
            raise UserError("a backbone given as a module brings its own weights: load them before, not by path")
        if first_stride or any(change is not None for change in (norm_eps, normed_stages, widen, deepen)):
            raise UserError(
                "a backbone given as a module is not changed: leave out first_stride, norm_eps, normed_stages, widen "
                "and deepen"
            )
        name = type(name_or_module).__name__
        return Backbone(
            name_or_module,
            name=name,
            channels=channels,
            strides=strides,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
    if channels is not None or strides is not None:
        raise UserError(f"channels and strides of backbone '{name_or_module}' follow from its name: leave them out")
    timm_name = resolve_name(name_or_module)
    body, out_indices, notes = _create(name_or_module, timm_name, pretrained, scale_of(name_or_module, widen, deepen))
    settings = getattr(body, "pretrained_cfg", None) or {}
    adapted = adapt(body, name_or_module, first_stride=first_stride, norm_eps=norm_eps, normed_stages=normed_stages)
    return Backbone(
        adapted,
        name=name_or_module,
        out_indices=out_indices if adapted is body else None,
        mean=settings.get("mean") or IMAGENET_MEAN,
        std=settings.get("std") or IMAGENET_STD,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        notes=notes,
    )


def _create(
    name: str, timm_name: str, pretrained: bool | str | Path, scale: Scale | None
) -> tuple[nn.Module, list[int] | None, list[str]]:
    if pretrained is True and scale != scale_of(name):
        raise UserError(
            f"there are no ImageNet weights of {name} at another widen or deepen: pass --weights none or --weights FILE"
        )
    out_indices = None
    if scale is not None and name in OWN_NAMES:
        if pretrained is True:
            raise UserError(
                f"there are no ImageNet weights of {name}, YOLOX trains from scratch: pass --weights none, or begin "
                "with a whole detector (--student FILE)"
            )
        body: nn.Module = CSPDarknet(scale.widen, scale.deepen, depthwise=scale.depthwise)
    else:
        make: Callable[..., nn.Module] = OWN_BODIES.get(name) or _features_of(timm_name, scale)
        body = create_pretrained(make, name, timm_name) if pretrained is True else make(pretrained=False)
        if name not in OWN_BODIES:
            out_indices = _pick_stages(name, cast("FeatureListNet", body).feature_info.reduction())
    notes = [] if isinstance(pretrained, bool) else [load_file(body, name, timm_name, Path(pretrained))]
    return body, out_indices, notes


def _features_of(timm_name: str, scale: Scale | None) -> Callable[..., nn.Module]:
    # Windowed transformers refuse every size but the one they were trained at unless told.
    given: dict[str, Any] = {"strict_img_size": False} if timm_name.startswith("swin") else {}
    if scale is not None:
        given |= {"widen_factor": scale.widen, "deepen_factor": scale.deepen}

    def make(**options: Any) -> nn.Module:
        import timm

        try:
            return timm.create_model(timm_name, features_only=True, **given, **options)
        except (RuntimeError, ValueError, AttributeError) as error:
            if options.get("pretrained"):
                raise
            raise UserError(f"timm cannot give the intermediate maps of {timm_name}: {error}") from error

    return make


def _pick_stages(name: str, reductions: list[int]) -> list[int]:
    missing = [stride for stride in _REQUIRED_STRIDES if stride not in reductions]
    if missing:
        offered = ", ".join(str(r) for r in sorted(set(reductions)))
        raise UserError(
            f"a detector's backbone needs maps at strides 8, 16 and 32; {name} offers {offered} only. "
            "Use a hierarchical model such as r50, mnv2, swin_t or convnext_t"
        )
    last = {stride: index for index, stride in enumerate(reductions)}
    return [last[stride] for stride in _STRIDES if stride in last]
