"""The short names of backbones, such as `r18` in `retinanet_r18`."""

from __future__ import annotations

from headstart.backbones.scalable import SCALES
from headstart.errors import UserError, did_you_mean

SHORT_NAMES = {
    # torchvision's own weights: the ones the published HEAD and CrossKD students start from.
    "r18": "resnet18.tv_in1k",
    "r34": "resnet34.tv_in1k",
    "r50": "resnet50.tv_in1k",
    "r101": "resnet101.tv_in1k",
    "r10": "resnet10t",
    "x101_64x4d": "resnext101_64x4d.tv_in1k",
    # mnv2 is HEAD's light student, see mobilenet.py; the plain one is timm's mobilenetv2_100.
    "mnv2": "mobilenetv2_100",
    "mnv2_050": "mobilenetv2_050",
    "mnv3s": "mobilenetv3_small_100",
    "mnv3l": "mobilenetv3_large_100",
    "mnv4s": "mobilenetv4_conv_small",
    "effb0": "efficientnet_b0",
    "effb1": "efficientnet_b1",
    "effb2": "efficientnet_b2",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "convnext_a": "convnext_atto",
    "convnext_t": "convnext_tiny",
    "convnext_s": "convnext_small",
    "hgnetv2_b0": "hgnetv2_b0",
    "regnety_400m": "regnety_004",
}
"""Short name -> timm name (with the weights' tag where it matters)."""

SPECIAL_NAMES = {"mnv3l_pair": "mobilenetv3_large_100"}
"""The same for backbones of a single imported detector; `headstart models` does not list them."""


OWN_NAMES = tuple(name for name in SCALES if name.startswith("csp_darknet"))
"""Backbones that timm does not have."""


def resolve_name(name: str) -> str:
    """The timm name behind `name`, or the name itself for a backbone of ours.

    Raises UserError with the nearest names if there is none.
    """
    import timm

    if name in OWN_NAMES:
        return name
    full = (SHORT_NAMES | SPECIAL_NAMES).get(name, name)
    if timm.is_model(full):
        return full
    known = [*SHORT_NAMES, *OWN_NAMES, *timm.list_models()]
    near = did_you_mean(name, known, most=4, otherwise=f"short names are {', '.join(SHORT_NAMES)}")
    raise UserError(f"no backbone is called '{name}': expected a short name or a timm model{near}")
