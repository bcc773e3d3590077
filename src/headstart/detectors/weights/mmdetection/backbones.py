"""The backbones of mmdetection's detectors: which one, how it departs from timm's, and how it wants its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from headstart.detectors.weights.architecture import count_layers, name_resnet, shape_of
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import KeyRules, LeftOut
from headstart.detectors.weights.mmdetection import names
from headstart.detectors.weights.mmdetection.config import (
    Normalisation,
    demand,
    is_caffe_style,
    number,
    read_normalisation,
)
from headstart.detectors.weights.mmdetection.config_text import Config, look
from headstart.errors import UserError

SWINS = {
    (96, (2, 2, 6, 2)): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2)): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2)): "swin_base_patch4_window7_224",
    (192, (2, 2, 18, 2)): "swin_large_patch4_window7_224",
}
"""Channels and blocks per stage of a Swin with windows of 7."""


BASIC_BLOCK_RESNETS = ("resnet18", "resnet34")


@dataclass(frozen=True)
class BackboneSpec:
    """The backbone of a detector of mmdetection's.

    name       timm's name, or our short one
    options    of the detector's builder: what is frozen, how the backbone departs from timm's
    key_rules  for its tensors;  left_out  those of them that are not read, with the reason
    pixels     how images are normalised
    reorder    changes the order of numbers inside the tensors, by our keys, where it is not ours
    notes      what was assumed, a sentence each
    """

    name: str
    options: dict[str, object]
    key_rules: KeyRules
    pixels: Normalisation
    left_out: LeftOut = ()
    reorder: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    notes: list[str] = field(default_factory=list)


def read_backbone(
    tensors: Mapping[str, Tensor], config: Config, hints: Hints, *, plain_fcos: bool, assisted: bool
) -> BackboneSpec:
    """The backbone of a state dict, by the file's keys. Raises UserError if it cannot be imported.

    plain_fcos  the detector is an FCOS as it was first published;  assisted  it is a student of HEAD's
    """
    if any("conv_offset" in key for key in tensors):
        raise UserError("has deformable convolutions (DCN) beyond those of RepPoints, which cannot be imported")
    if "backbone.patch_embed.projection.weight" in tensors:
        return _swin(tensors, config, hints)
    if "backbone.layer1.0.depthwise_conv.conv.weight" in tensors:
        return _mobilenet(tensors, config, hints, assisted)
    if "backbone.conv1.weight" in tensors:
        return _resnet(tensors, config, hints, plain_fcos)
    found = sorted({".".join(key.split(".")[:2]) for key in tensors if key.startswith("backbone.")})
    raise UserError(
        "has a backbone that is not known: expected a ResNet, ResNeXt, Swin or MobileNetV2, found "
        f"{', '.join(found[:8])}"
    )


def _resnet(tensors: Mapping[str, Tensor], config: Config, hints: Hints, plain_fcos: bool) -> BackboneSpec:
    name = name_resnet(tensors, "backbone.")
    demand(config, "model.backbone.strides", [1, 2, 2, 2])
    demand(config, "model.backbone.dilations", [1, 1, 1, 1])
    caffe = is_caffe_style(config, hints, name)
    # Basic blocks halve their maps in the first convolution in both styles.
    first = caffe and name not in BASIC_BLOCK_RESNETS
    options: dict[str, object] = {"first_stride": True} if first else {}
    eps = number(config, "model.backbone.norm_cfg.eps", 1e-5)
    if eps != 1e-5:
        options["norm_eps"] = eps
    builder: dict[str, object] = {"frozen_stages": 1, "norm_eval": True}
    return BackboneSpec(
        name,
        builder | ({"body_options": options} if options else {}),
        names.RESNET,
        read_normalisation(config, hints, name, caffe=caffe, plain_fcos=plain_fcos),
        notes=["blocks halve their maps in the first convolution (Caffe's style)"] if first else [],
    )


def _mobilenet(tensors: Mapping[str, Tensor], config: Config, hints: Hints, assisted: bool) -> BackboneSpec:
    last = count_layers(tensors, r"neck\.lateral_convs\.(\d+)\..+") - 1
    channels = shape_of(tensors, f"neck.lateral_convs.{last}.conv.weight", 4)[1]
    leaky = _is_leaky(config, hints, assisted)
    name = {(True, 1280): "mnv2", (False, 320): "mobilenetv2_100"}.get((leaky, channels))
    if name is None:
        kind = "LeakyReLU" if leaky else "ReLU6"
        raise UserError(
            f"has a MobileNetV2 with {kind} whose last map has {channels} channels; expected ReLU6 with 320, or as "
            "HEAD has it, LeakyReLU with 1280"
        )
    unused = [] if leaky else [(r"backbone\.conv2\..+", "the classifier's convolution, which is not used, is left out")]
    pixels = read_normalisation(config, hints, name, caffe=False, plain_fcos=False)
    return BackboneSpec(name, {"frozen_stages": 0, "norm_eval": False}, names.MOBILENET_V2, pixels, unused)


def _is_leaky(config: Config, hints: Hints, assisted: bool) -> bool:
    """Whether the activation is LeakyReLU(0.1), as in HEAD's light students, or ReLU6; the weights are the same."""
    if look(config, "model.backbone"):
        kind = look(config, "model.backbone.act_cfg.type", "ReLU6")
        slope = look(config, "model.backbone.act_cfg.negative_slope", 0.01)
        if kind not in ("ReLU6", "LeakyReLU") or (kind == "LeakyReLU" and slope != 0.1):
            raise UserError(f"has a MobileNetV2 with {kind}; expected ReLU6, or LeakyReLU of slope 0.1")
        return kind == "LeakyReLU"
    if assisted or hints.name_has("leaky"):
        return True
    if hints.name_has("relu6"):
        return False
    raise UserError(
        "does not say which activation its MobileNetV2 has: give --as relu6 (mmdetection's), or --as leaky "
        "(LeakyReLU 0.1, HEAD's light student)"
    )


def _swin(tensors: Mapping[str, Tensor], config: Config, hints: Hints) -> BackboneSpec:
    blocks = tuple(count_layers(tensors, rf"backbone\.stages\.{s}\.blocks\.(\d+)\..+") for s in range(4))
    channels = shape_of(tensors, "backbone.patch_embed.projection.weight", 4)[0]
    table = tensors.get("backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table")
    name = SWINS.get((channels, blocks)) if table is not None and len(table) == 169 else None
    if name is None:
        raise UserError(
            f"has a Swin of {channels} channels and {'-'.join(map(str, blocks))} blocks that is not known: expected "
            "Swin-T, S, B or L with windows of 7"
        )
    for key, value in tensors.items():
        if key.endswith("relative_position_index") and not torch.equal(value.long(), _relative_positions()):
            raise UserError(f"has other positions in {key} than a Swin's windows of 7 have")
    stages = [stage for stage in range(4) if f"backbone.norm{stage}.weight" in tensors]
    norms = [(rf"backbone\.norm{s}\.(\w+)", rf"backbone.body.norms.{i}.\1") for i, s in enumerate(stages)]
    constant = [(r"backbone\..+\.relative_position_index", "positions, the same in every Swin, are left out")]
    options = {"frozen_stages": 0, "norm_eval": False, "body_options": {"normed_stages": stages}}
    pixels = read_normalisation(config, hints, name, caffe=False, plain_fcos=False)
    return BackboneSpec(name, options, [*names.SWIN, *norms], pixels, constant, _merge_in_timms_order)


def _relative_positions(window: int = 7) -> Tensor:
    """(w * w, w * w) int64: the number of the offset between cells of a w x w window, 0..(2 w - 1)^2 - 1."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    cells = (y * (2 * window - 1) + x).flatten()
    return cells[:, None] - cells[None, :] + (window - 1) * 2 * window


def _merge_in_timms_order(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reorders the inputs (..., 4 * C) of the layers that merge 2x2 patches.

    mmdetection reads the four patches channel by channel, timm patch by patch, columns first.
    """
    for key, value in tensors.items():
        if ".downsample." in key:
            merged = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
            tensors[key] = merged.transpose(-1, -2).flatten(-2)
    return tensors
