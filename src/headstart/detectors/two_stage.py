"""The two-stage detectors, each on any backbone with maps at strides 4 to 32: their options and their builders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.detectors.parts import BackboneOptions, assemble, from_stride_4, make_body
from headstart.heads.cascade import CascadeHead, CascadeOptions, CascadeRoIHead
from headstart.heads.convention import ConventionName
from headstart.heads.roi import BOX_HEADS, BoxHead, BoxHeadName, BoxHeadOptions
from headstart.heads.rpn import RPNHead, RPNOptions
from headstart.heads.selection import PROPOSALS, Selection
from headstart.heads.two_stage import TwoStageHead
from headstart.necks.fpn import Norm
from headstart.options import Count, Depth, Number, Positive, Positives, Width


@dataclass(frozen=True, kw_only=True)
class TwoStageOptions(BackboneOptions):
    """Options of every two-stage detector.

    width         channels of the pyramid and of the RPN's tower
    hidden        width of the box heads' fully connected layers
    box_head      "2fc": two of these layers; "4conv1fc": four convolutions with batch norm and one of them, as in
                  torchvision's second version, which has an `rpn_depth` of 2
    rpn_depth     convolutions of the RPN
    anchor_scale  side of the RPN's anchors in strides
    regions       sampled per image (and stage) in training, a quarter of them objects
    selection     how detections are chosen
    proposing     how proposals are chosen when detecting
    """

    width: Width = RPNOptions.width
    hidden: Width = BoxHeadOptions.hidden
    box_head: BoxHeadName = "2fc"
    rpn_depth: Depth = RPNOptions.depth
    anchor_scale: Positive = RPNOptions.anchor_scale
    regions: Count = CascadeOptions.regions
    selection: Selection = BoxHeadOptions.selection
    proposing: Selection = RPNOptions.selection


@dataclass(frozen=True, kw_only=True)
class FasterRCNNOptions(TwoStageOptions):
    """Options of Faster R-CNN.

    anchor_sizes    sides of the RPN's anchors in pixels, the same on every level, in place of `anchor_scale`; the
                    pyramid may then begin at any stride
    neck_norm       after each convolution of the pyramid: "batch", "group" (GroupNorm), or None
    class_agnostic, extra_logits, convention  as `BoxHeadOptions` say
    """

    anchor_sizes: Positives | None = None
    neck_norm: Norm = None
    class_agnostic: bool = False
    extra_logits: Number = 0
    convention: ConventionName = "mmdetection"

    aliases: ClassVar[Mapping[str, str]] = BoxHeadOptions.aliases


@dataclass(frozen=True, kw_only=True)
class CascadeRCNNOptions(TwoStageOptions):
    """Options of Cascade R-CNN: those of every two-stage detector."""


def fasterrcnn(classes: Sequence[str], backbone: str, options: FasterRCNNOptions) -> Detector:
    """Faster R-CNN on P2..P6: an RPN of 3 anchors per cell, and a box head that reads its proposals."""
    body = make_body(backbone, options)
    anywhere = options.anchor_sizes is not None
    neck = from_stride_4("fasterrcnn", backbone, body, options.width, options.neck_norm, anywhere=anywhere)
    rpn = RPNOptions(
        width=options.width,
        depth=options.rpn_depth,
        anchor_scale=options.anchor_scale,
        anchor_sizes=options.anchor_sizes,
        selection=options.proposing,
        convention=options.convention,
    )
    convs, fcs = BOX_HEADS[options.box_head]
    roi = BoxHeadOptions(
        convs=convs,
        fcs=fcs,
        hidden=options.hidden,
        class_agnostic=options.class_agnostic,
        extra_logits=options.extra_logits,
        selection=options.selection,
        convention=options.convention,
    )
    strides = sorted(set(body.strides))  # of maps with the same stride the first is read
    head = TwoStageHead(
        RPNHead(options.width, neck.strides, rpn),
        BoxHead(len(classes), options.width, strides, roi),
        RegionSampler(options.regions),
    )
    return assemble(body, neck, head, classes)


def cascadercnn(classes: Sequence[str], backbone: str, options: CascadeRCNNOptions) -> Detector:
    """Cascade R-CNN: Faster R-CNN with three box heads, each refining the boxes of the one before.

    IoU from 0.5, 0.6, 0.7; 2000 proposals in training. Anchors that reach out of the image are trained, as in Faster
    R-CNN and unlike in mmdetection's recipe: in small images the large ones all do, and would be left to chance.
    """
    body = make_body(backbone, options)
    neck = from_stride_4("cascadercnn", backbone, body, options.width)
    rpn = RPNOptions(
        width=options.width,
        depth=options.rpn_depth,
        anchor_scale=options.anchor_scale,
        beta=1 / 9,
        selection=options.proposing,
    )
    convs, fcs = BOX_HEADS[options.box_head]
    roi = CascadeOptions(
        convs=convs,
        fcs=fcs,
        hidden=options.hidden,
        regions=options.regions,
        selection=options.selection,
    )
    head = CascadeHead(
        RPNHead(options.width, neck.strides, rpn), CascadeRoIHead(len(classes), options.width, neck.strides, roi)
    )
    head.rpn.proposing = replace(PROPOSALS, max_detections=2000)
    return assemble(body, neck, head, classes)
