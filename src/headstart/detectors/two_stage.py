"""Builders of the two-stage detectors, each on any backbone with maps at strides 4 to 32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.detectors.parts import Options, Weights, assemble, choose, find_convention, from_stride_4, make_body
from headstart.errors import UserError
from headstart.heads.cascade import CascadeHead, CascadeRoIHead
from headstart.heads.dense import DETECTIONS, PROPOSALS
from headstart.heads.roi import BOX_HEADS, BoxHead
from headstart.heads.rpn import DETECTING, RPNHead
from headstart.heads.two_stage import TwoStageHead


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
    anchor_sizes: list[float] | None = None,
    regions: int = 512,
    extra_logits: int = 0,
    class_agnostic: bool = False,
    neck_norm: str | None = None,
    selection: Options | None = None,
    proposing: Options | None = None,
    convention: str = "mmdetection",
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """Faster R-CNN on P2..P6: RPN of 3 anchors per cell, `anchor_scale` strides wide; `hidden`-wide box head.

    `box_head`: "2fc", or "4conv1fc" (four convolutions with batch norm, one layer), which torchvision's second version
    has together with `rpn_depth` 2. `regions` per image are sampled in training, a quarter of them objects. With
    `anchor_sizes` (pixels, the same on every level) the pyramid may begin at any stride. `extra_logits`: further class
    outputs that only take part in the softmax; `class_agnostic`: one box for all classes.
    """
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_4("fasterrcnn", backbone, body, width, neck_norm, anywhere=anchor_sizes is not None)
    rule = find_convention(convention)
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
    roi = BoxHead(
        len(classes),
        width,
        sorted(set(body.strides)),  # of maps with the same stride the first is read
        hidden=hidden,
        extra_logits=extra_logits,
        class_agnostic=class_agnostic,
        selection=choose(DETECTIONS, selection),
        convention=rule,
        **_box_head("fasterrcnn", box_head),
    )
    return assemble(body, neck, TwoStageHead(rpn, roi, RegionSampler(regions)), classes)


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
    selection: Options | None = None,
    proposing: Options | None = None,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """Cascade R-CNN: Faster R-CNN with three box heads, each refining the boxes of the one before.

    IoU from 0.5, 0.6, 0.7; 2000 proposals in training. Anchors that reach out of the image are trained, as in Faster
    R-CNN and unlike in mmdetection's recipe: in small images the large ones all do, and would be left to chance.
    """
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_4("cascadercnn", backbone, body, width)
    rpn = RPNHead(
        width,
        neck.strides,
        width=width,
        depth=rpn_depth,
        anchor_scale=anchor_scale,
        beta=1 / 9,
        selection=choose(DETECTING, proposing),
    )
    rpn.proposing = replace(PROPOSALS, max_detections=2000)
    layers = _box_head("cascadercnn", box_head)
    chosen = choose(DETECTIONS, selection)
    roi = CascadeRoIHead(len(classes), width, neck.strides, regions=regions, hidden=hidden, selection=chosen, **layers)
    return assemble(body, neck, CascadeHead(rpn, roi), classes)


def _box_head(family: str, name: str) -> dict[str, Any]:
    if name not in BOX_HEADS:
        raise UserError(f"detector {family}: box_head must be {' or '.join(BOX_HEADS)}, not '{name}'")
    return BOX_HEADS[name]
