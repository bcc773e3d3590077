"""What the builders of detectors share: the backbone, the pyramids, and options by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from headstart.backbones import Backbone, build_backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.convention import CONVENTIONS, Convention
from headstart.heads.dense import Selection
from headstart.necks.fpn import FPN

Weights = bool | str | Path
Options = dict[str, Any]


def make_body(
    name: str,
    pretrained: Weights,
    frozen_stages: int | None,
    norm_eval: bool | None,
    options: Options | None = None,
) -> Backbone:
    """Pretrained ResNets keep stem and first stage frozen and use running statistics, as in the papers' recipes.

    Everything else, and whatever starts from scratch, trains whole with batch statistics. `options` say how the
    backbone of an imported file departs from timm's (`headstart.backbones.build_backbone`).
    """
    classic = pretrained is not False and name.startswith(("r18", "r34", "r50", "r101", "resnet", "resnext", "x101"))
    return build_backbone(
        name,
        pretrained=pretrained,
        frozen_stages=int(classic) if frozen_stages is None else frozen_stages,
        norm_eval=classic if norm_eval is None else norm_eval,
        **(options or {}),
    )


def from_stride_8(body: Backbone, width: int, extra: str, relu_extra: bool, norm: str | None = None) -> FPN:
    """P3..P7 for dense detectors."""
    return FPN(
        body.channels,
        body.strides,
        width=width,
        start=body.strides.index(8),
        levels=5,
        extra=extra,
        relu_extra=relu_extra,
        norm=norm,
    )


def from_stride_4(
    family: str, name: str, body: Backbone, width: int, norm: str | None = None, *, anywhere: bool = False
) -> FPN:
    """P2..P6 for two-stage detectors; with `anywhere`, all stages and one more, wherever they begin."""
    if body.strides[0] != 4 and not anywhere:
        raise UserError(f"{family} needs a map at stride 4; backbone {name} begins at stride {body.strides[0]}")
    levels = len(body.strides) + 1
    return FPN(body.channels, body.strides, width=width, start=0, levels=levels, extra="maxpool", norm=norm)


def assemble(body: Backbone, neck: FPN, head: Any, classes: Sequence[str]) -> Detector:
    """The whole, with the normalisation that the backbone was trained for."""
    mean, std = ([value * 255 for value in row] for row in (body.mean, body.std))
    return Detector(body, neck, head, classes, mean=mean, std=std)


def choose(default: Selection, changes: Options | None) -> Selection:
    """`default` with some of its numbers replaced. Raises UserError for a number that it does not have."""
    known = [f.name for f in fields(Selection)]
    unknown = [name for name in changes or {} if name not in known]
    if unknown:
        raise UserError(f"a selection of boxes has no '{unknown[0]}'; it has {', '.join(known)}")
    return replace(default, **(changes or {}))


def use_current_names(options: Mapping[str, Any], aliases: Mapping[str, str], owner: str) -> Options:
    """`options` with their former names replaced by today's; `aliases` maps the former ones to those.

    Raises UserError, which begins with `owner`, where both names of one option are given.
    """
    for former, name in aliases.items():
        if former in options and name in options:
            raise UserError(f"{owner}: {former} is the former name of {name}; give only {name}")
    return {aliases.get(key, key): value for key, value in options.items()}


def find_convention(name: str) -> Convention:
    """The convention of this name. Raises UserError if there is none."""
    if name not in CONVENTIONS:
        raise UserError(f"convention must be one of {', '.join(CONVENTIONS)}, not '{name}'")
    return CONVENTIONS[name]
