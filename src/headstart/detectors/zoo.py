"""Detectors by name: a builder per family, on any backbone."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from headstart.assign.sample import RegionSampler
from headstart.backbones import SHORT_NAMES, Backbone, build_backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads import adaptive
from headstart.heads.atss import ATSSHead
from headstart.heads.convention import CONVENTIONS, Convention
from headstart.heads.dense import DETECTIONS, Selection
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BoxHead
from headstart.heads.rpn import DETECTING, RPNHead
from headstart.heads.two_stage import TwoStageHead
from headstart.necks.fpn import FPN

Weights = bool | str | Path
Options = dict[str, Any]


def retinanet(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    anchor_scale: float = 4.0,
    norm: bool = False,
    extra: str = "on_input",
    relu_extra: bool = False,
    selection: Options | None = None,
    convention: str = "mmdetection",
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """RetinaNet on P3..P7: 9 anchors per cell, from `anchor_scale` strides up; towers of `depth` x `width`.

    `norm`: GroupNorm in the towers; `extra`, `relu_extra`: what P6 and P7 are made of.
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = _pyramid(body, width, extra, relu_extra)
    head = RetinaHead(
        len(classes),
        width,
        neck.strides,
        width=width,
        depth=depth,
        anchor_scale=anchor_scale,
        norm=norm,
        selection=choose(DETECTIONS, selection),
        convention=_convention(convention),
    )
    return _assemble(body, neck, head, classes)


def fcos(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    improved: bool = False,
    range_scale: float = 8.0,
    extra: str = "on_output",
    relu_extra: bool = True,
    selection: Options | None = None,
    convention: str = "mmdetection",
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """FCOS on P3..P7. `improved`: normalised boxes, centre sampling, centreness on the box tower, GIoU.

    `range_scale` strides is the largest distance each level but the last answers for (8: 64, 128, 256, 512 pixels).
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = _pyramid(body, width, extra, relu_extra)
    head = FCOSHead(
        len(classes),
        width,
        neck.strides,
        width=width,
        depth=depth,
        range_scale=range_scale,
        normalised=improved,
        centre_sampling=improved,
        centreness_on_box=improved,
        box_loss="giou" if improved else "iou",
        conv_bias=True if improved else None,
        selection=choose(DETECTIONS, selection),
        convention=_convention(convention),
    )
    return _assemble(body, neck, head, classes)


def atss(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    anchor_scale: float = 8.0,
    extra: str = "on_output",
    relu_extra: bool = False,
    selection: Options | None = None,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """ATSS on P3..P7: one square anchor per cell, `anchor_scale` strides wide, and a centreness."""
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = _pyramid(body, width, extra, relu_extra)
    chosen = choose(adaptive.DETECTIONS, selection)
    options = {"width": width, "depth": depth, "anchor_scale": anchor_scale, "selection": chosen}
    return _assemble(body, neck, ATSSHead(len(classes), width, neck.strides, **options), classes)


def gfl(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    anchor_scale: float = 8.0,
    reach: int = 16,
    extra: str = "on_output",
    relu_extra: bool = False,
    selection: Options | None = None,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """GFL on P3..P7: one square anchor per cell; each edge is a distribution over 0 to `reach` strides."""
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = _pyramid(body, width, extra, relu_extra)
    chosen = choose(adaptive.DETECTIONS, selection)
    options = {"width": width, "depth": depth, "anchor_scale": anchor_scale, "reach": reach, "selection": chosen}
    return _assemble(body, neck, GFLHead(len(classes), width, neck.strides, **options), classes)


def reppoints(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 3,
    point_scale: float = 4.0,
    norm: bool = True,
    extra: str = "on_input",
    relu_extra: bool = False,
    selection: Options | None = None,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """RepPoints on P3..P7: nine points per cell, moved in two stages. `norm`: GroupNorm in pyramid and head.

    Objects of `point_scale` strides and up to twice that belong to a level.
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = _pyramid(body, width, extra, relu_extra, "group" if norm else None)
    chosen = choose(DETECTIONS, selection)
    options = {"width": width, "depth": depth, "point_scale": point_scale, "norm": norm, "selection": chosen}
    return _assemble(body, neck, RepPointsHead(len(classes), width, neck.strides, **options), classes)


def fasterrcnn(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    hidden: int = 1024,
    anchor_scale: float = 8.0,
    anchor_sizes: list[float] | None = None,
    rpn_depth: int = 1,
    regions: int = 512,
    void: int = 0,
    neck_norm: str | None = None,
    selection: Options | None = None,
    proposing: Options | None = None,
    convention: str = "mmdetection",
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """Faster R-CNN on P2..P6: RPN of 3 anchors per cell, `anchor_scale` strides wide; two `hidden`-wide layers.

    `regions` per image are sampled in training, a quarter of them objects. With `anchor_sizes` (pixels, the same on
    every level) the pyramid may begin at any stride. `void` outputs are only part of the softmax.
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    if body.strides[0] != 4 and anchor_sizes is None:
        raise UserError(f"fasterrcnn needs a map at stride 4; backbone {backbone} begins at stride {body.strides[0]}")
    levels = len(body.strides) + 1
    neck = FPN(body.channels, body.strides, width=width, start=0, levels=levels, extra="maxpool", norm=neck_norm)
    rule = _convention(convention)
    rpn = RPNHead(
        width,
        neck.strides,
        width=width,
        depth=rpn_depth,
        anchor_scale=anchor_scale,
        anchor_sizes=anchor_sizes,
        selection=choose(DETECTING, proposing),
        convention=rule,
    )
    # Of maps with the same stride the first is read.
    pooled = sorted(set(body.strides))
    roi = BoxHead(
        len(classes),
        width,
        pooled,
        hidden=hidden,
        void=void,
        selection=choose(DETECTIONS, selection),
        convention=rule,
    )
    return _assemble(body, neck, TwoStageHead(rpn, roi, RegionSampler(regions)), classes)


FAMILIES: dict[str, Callable[..., Detector]] = {
    "retinanet": retinanet,
    "fcos": fcos,
    "atss": atss,
    "gfl": gfl,
    "reppoints": reppoints,
    "fasterrcnn": fasterrcnn,
}

DETECTORS: dict[str, tuple[str, str]] = {
    f"{family}_{short}": (family, short) for family in FAMILIES for short in SHORT_NAMES
}
"""Name -> family and backbone. Any other backbone: the family's name and `backbone=`."""


def build_detector(name: str, classes: Sequence[str], *, backbone: str | None = None, **options: Any) -> Detector:
    """The detector called `name` (`retinanet_r18`, or a family with `backbone=` a timm name) for these classes.

    `options` are the builder's keywords (`pretrained`, `width`, ...). Raises UserError for an unknown name or option,
    with the nearest known ones.
    """
    family, short = DETECTORS.get(name, (name, None))
    if family not in FAMILIES or (short is None and backbone is None):
        raise UserError(_unknown(name))
    builder = FAMILIES[family]
    known = [p for p in inspect.signature(builder).parameters if p not in ("classes", "backbone")]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}."
            raise UserError(f"detector {name} has no option '{option}'; {hint}")
    if isinstance(classes, str):
        raise UserError(f"detector {name}: classes must be a list of names, such as ['{classes}'], not one name")
    if not classes:
        raise UserError(f"detector {name} needs at least one class")
    detector = builder(tuple(classes), backbone or short, **options)
    lasting = {key: value for key, value in options.items() if key != "pretrained"}
    # What "frozen" came to depends on `pretrained`, which a saved detector no longer has: keep the answer.
    lasting |= {"frozen_stages": detector.backbone.frozen_stages, "norm_eval": detector.backbone.norm_eval}
    detector.recipe = {"name": family, "backbone": backbone or short, "classes": list(classes), **lasting}
    return detector


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [*DETECTORS, *FAMILIES], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`headstart models` lists them."
    if name in FAMILIES:
        hint = f"say which backbone: {name}_r18, or {name} with backbone=NAME."
    return f"no detector is called '{name}'; {hint}"


def _body(
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


def choose(default: Selection, changes: Options | None) -> Selection:
    """A selection with some of its numbers replaced. Raises UserError for a number that it does not have."""
    known = [f.name for f in fields(Selection)]
    unknown = [name for name in changes or {} if name not in known]
    if unknown:
        raise UserError(f"a selection of boxes has no '{unknown[0]}'; it has {', '.join(known)}")
    return replace(default, **(changes or {}))


def _convention(name: str) -> Convention:
    if name not in CONVENTIONS:
        raise UserError(f"convention must be one of {', '.join(CONVENTIONS)}, not '{name}'")
    return CONVENTIONS[name]


def _pyramid(body: Backbone, width: int, extra: str, relu_extra: bool, norm: str | None = None) -> FPN:
    """P3..P7."""
    start = body.strides.index(8)
    return FPN(
        body.channels,
        body.strides,
        width=width,
        start=start,
        levels=5,
        extra=extra,
        relu_extra=relu_extra,
        norm=norm,
    )


def _assemble(body: Backbone, neck: FPN, head: Any, classes: Sequence[str]) -> Detector:
    mean, std = ([value * 255 for value in row] for row in (body.mean, body.std))
    return Detector(body, neck, head, classes, mean=mean, std=std)
