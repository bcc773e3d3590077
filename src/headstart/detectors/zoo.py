"""Detectors by name: a builder per family, on any backbone."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headstart.assign.sample import RegionSampler
from headstart.backbones import SHORT_NAMES, Backbone, build_backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.cascade import Cascade, CascadeHead
from headstart.heads.dense import PROPOSALS
from headstart.heads.fcos import FCOSHead
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BOX_HEADS, BoxHead
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import TwoStageHead
from headstart.necks.fpn import FPN

Weights = bool | str | Path


def retinanet(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    anchor_scale: float = 4.0,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
) -> Detector:
    """RetinaNet on P3..P7: 9 anchors per cell, from `anchor_scale` strides up; towers of `depth` x `width`."""
    body = _body(backbone, pretrained, frozen_stages, norm_eval)
    neck = FPN(body.channels, body.strides, width=width, start=_c3(body), levels=5, extra="on_input")
    head = RetinaHead(len(classes), width, neck.strides, width=width, depth=depth, anchor_scale=anchor_scale)
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
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
) -> Detector:
    """FCOS on P3..P7. `improved`: normalised boxes, centre sampling, centreness on the box tower, GIoU.

    `range_scale` strides is the largest distance each level but the last answers for (8: 64, 128, 256, 512 pixels).
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval)
    neck = FPN(body.channels, body.strides, width=width, start=_c3(body), levels=5, extra="on_output", relu_extra=True)
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
    )
    return _assemble(body, neck, head, classes)


def fasterrcnn(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    hidden: int = 1024,
    box_head: str = "2fc",
    rpn_depth: int = 1,
    anchor_scale: float = 8.0,
    regions: int = 512,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
) -> Detector:
    """Faster R-CNN on P2..P6: RPN of 3 anchors per cell, `anchor_scale` strides wide; `hidden`-wide box head.

    `box_head`: "2fc", or "4conv1fc" (four convolutions with batch norm, one layer), which torchvision's second version
    has together with `rpn_depth` 2. `regions` per image are sampled in training, a quarter of them objects.
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval)
    neck = _from_stride_4("fasterrcnn", backbone, body, width)
    rpn = RPNHead(width, neck.strides, width=width, depth=rpn_depth, anchor_scale=anchor_scale)
    roi = BoxHead(len(classes), width, neck.strides, hidden=hidden, **_box_head("fasterrcnn", box_head))
    return _assemble(body, neck, TwoStageHead(rpn, roi, RegionSampler(regions)), classes)


def cascadercnn(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    hidden: int = 1024,
    box_head: str = "2fc",
    rpn_depth: int = 1,
    anchor_scale: float = 8.0,
    regions: int = 512,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
) -> Detector:
    """Cascade R-CNN: Faster R-CNN with three box heads, each refining the boxes of the one before.

    IoU from 0.5, 0.6, 0.7; 2000 proposals in training. Anchors that reach out of the image are trained, as in Faster
    R-CNN and unlike in mmdetection's recipe: in small images the large ones all do, and would be left to chance.
    """
    body = _body(backbone, pretrained, frozen_stages, norm_eval)
    neck = _from_stride_4("cascadercnn", backbone, body, width)
    rpn = RPNHead(width, neck.strides, width=width, depth=rpn_depth, anchor_scale=anchor_scale, beta=1 / 9)
    rpn.proposing = replace(PROPOSALS, keep=2000)
    layers = _box_head("cascadercnn", box_head)
    roi = Cascade(len(classes), width, neck.strides, regions=regions, hidden=hidden, **layers)
    return _assemble(body, neck, CascadeHead(rpn, roi), classes)


FAMILIES: dict[str, Callable[..., Detector]] = {
    "retinanet": retinanet,
    "fcos": fcos,
    "fasterrcnn": fasterrcnn,
    "cascadercnn": cascadercnn,
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


def _body(name: str, pretrained: Weights, frozen_stages: int | None, norm_eval: bool | None) -> Backbone:
    """Pretrained ResNets keep stem and first stage frozen and use running statistics, as in the papers' recipes.

    Everything else, and whatever starts from scratch, trains whole with batch statistics.
    """
    classic = pretrained is not False and name.startswith(("r18", "r34", "r50", "r101", "resnet", "resnext", "x101"))
    return build_backbone(
        name,
        pretrained=pretrained,
        frozen_stages=int(classic) if frozen_stages is None else frozen_stages,
        norm_eval=classic if norm_eval is None else norm_eval,
    )


def _c3(body: Backbone) -> int:
    return body.strides.index(8)


def _from_stride_4(family: str, name: str, body: Backbone, width: int) -> FPN:
    """P2..P6 for two-stage detectors."""
    if body.strides[0] != 4:
        raise UserError(f"{family} needs a map at stride 4; backbone {name} begins at stride {body.strides[0]}")
    return FPN(body.channels, body.strides, width=width, start=0, levels=5, extra="maxpool")


def _box_head(family: str, name: str) -> dict[str, Any]:
    if name not in BOX_HEADS:
        raise UserError(f"detector {family}: box_head must be {' or '.join(BOX_HEADS)}, not '{name}'")
    return BOX_HEADS[name]


def _assemble(body: Backbone, neck: FPN, head: Any, classes: Sequence[str]) -> Detector:
    mean, std = ([value * 255 for value in row] for row in (body.mean, body.std))
    return Detector(body, neck, head, classes, mean=mean, std=std)
