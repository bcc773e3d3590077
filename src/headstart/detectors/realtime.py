"""RTMDet and YOLOX: their options and builders, on the official bodies or on any other backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.backbones import Backbone
from headstart.backbones.scalable import Scale, scale_of
from headstart.csp import scale_depth
from headstart.detectors.detector import Detector
from headstart.detectors.parts import BackboneOptions, assemble, make_body
from headstart.heads.rtmdet import RTMDetHead, RTMDetOptions
from headstart.heads.yolox import YOLOXHead, YOLOXOptions
from headstart.necks.pafpn import PAFPN, Kind
from headstart.options import Count, part_of

PAD = 114.0
"""The raw value of the padding, in all channels, that both detectors are trained with."""

OTHER_WIDTH, OTHER_BLOCKS = 128, 1
"""On backbones that are not the official ones: those of size s, whose stages are as wide as ResNet-18's."""

PYRAMID, BLOCKS = 256, 3
"""Width and blocks at `widen` and `deepen` 1."""

EXPONENTIAL_FROM = 0.75
"""`widen` from which RTMDet's distances are exponential: size m."""


@dataclass(frozen=True, kw_only=True)
class PathOptions(BackboneOptions):
    """Options of detectors on a PAFPN; what is None follows from the backbone (`headstart.backbones.scalable`).

    In the families' options such fields stand in place of the head's own, which has a number there always.

    width        channels of pyramid and head; on other backbones 128
    neck_blocks  blocks of each CSP layer of the pyramid; on other backbones 1
    """

    width: Count | None = None
    neck_blocks: Count | None = None


@dataclass(frozen=True, kw_only=True)
class RTMDetDetectorOptions(PathOptions, RTMDetOptions):
    """Options of RTMDet: of its head, pyramid and backbone.

    exponential  None: linear on the bodies of sizes tiny and s, as the official ones; else exponential
    """

    width: Count | None = None  # ty: ignore[incompatible-attribute-override]
    exponential: bool | None = None  # ty: ignore[incompatible-attribute-override]


@dataclass(frozen=True, kw_only=True)
class YOLOXDetectorOptions(PathOptions, YOLOXOptions):
    """Options of YOLOX: of its head, pyramid and backbone.

    depthwise  3x3 convolutions of pyramid and head look at each channel alone; None: on the body of size nano
    """

    width: Count | None = None  # ty: ignore[incompatible-attribute-override]
    depthwise: bool | None = None  # ty: ignore[incompatible-attribute-override]


def rtmdet(classes: Sequence[str], backbone: str, options: RTMDetDetectorOptions) -> Detector:
    """RTMDet on P3..P5: CSP layers up and down, a point per cell, the class score is the box's quality."""
    scale = _scale(backbone, options)
    linear = scale is not None and scale.widen < EXPONENTIAL_FROM
    exponential = not linear if options.exponential is None else options.exponential
    return _build(RTMDetHead, classes, backbone, options, "cspnext", exponential=exponential)


def yolox(classes: Sequence[str], backbone: str, options: YOLOXDetectorOptions) -> Detector:
    """YOLOX on P3..P5: CSP layers up and down, layers of each level, classes times objectness."""
    scale = _scale(backbone, options)
    depthwise = (scale is not None and scale.depthwise) if options.depthwise is None else options.depthwise
    return _build(YOLOXHead, classes, backbone, options, "darknet", depthwise=depthwise)


def _scale(backbone: str, options: PathOptions) -> Scale | None:
    return scale_of(backbone, options.body_options.widen, options.body_options.deepen)


def _build(
    kind: type[RTMDetHead] | type[YOLOXHead],
    classes: Sequence[str],
    backbone: str,
    options: PathOptions,
    neck_kind: Kind,
    **head_options: bool,
) -> Detector:
    """A detector with a head of this kind on a PAFPN; `options` have every field of the head's own."""
    scale = _scale(backbone, options)
    width, blocks = OTHER_WIDTH, OTHER_BLOCKS
    if scale is not None:
        width, blocks = int(PYRAMID * scale.widen), scale_depth(BLOCKS, scale.deepen)
    width = options.width or width
    body: Backbone = make_body(backbone, options)
    neck = PAFPN(
        body.channels,
        body.strides,
        width=width,
        blocks=options.neck_blocks or blocks,
        kind=neck_kind,
        depthwise=head_options.get("depthwise", False),
    )
    head = kind(len(classes), width, neck.strides, part_of(kind.Options, options, width=width, **head_options))
    # Megvii's and mmdetection's YOLOX read raw BGR; a backbone of timm wants what it was trained with.
    order = "BGR" if backbone.startswith("csp_darknet") else "RGB"
    return assemble(body, neck, head, classes, pad=PAD, order=order)
