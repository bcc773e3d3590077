"""Builders of the dense detectors, each on any backbone with maps at strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.detectors.detector import Detector
from headstart.detectors.parts import Options, Weights, assemble, choose, find_convention, from_stride_8, make_body
from headstart.heads import single_anchor
from headstart.heads.atss import ATSSHead
from headstart.heads.dense import DETECTIONS
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead


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
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_8(body, width, extra, relu_extra)
    head = RetinaHead(
        len(classes),
        width,
        neck.strides,
        width=width,
        depth=depth,
        anchor_scale=anchor_scale,
        norm=norm,
        selection=choose(DETECTIONS, selection),
        convention=find_convention(convention),
    )
    return assemble(body, neck, head, classes)


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
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_8(body, width, extra, relu_extra)
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
        convention=find_convention(convention),
    )
    return assemble(body, neck, head, classes)


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
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_8(body, width, extra, relu_extra)
    chosen = choose(single_anchor.DETECTIONS, selection)
    options = {"width": width, "depth": depth, "anchor_scale": anchor_scale, "selection": chosen}
    return assemble(body, neck, ATSSHead(len(classes), width, neck.strides, **options), classes)


def gfl(
    classes: Sequence[str],
    backbone: str,
    *,
    pretrained: Weights = True,
    width: int = 256,
    depth: int = 4,
    anchor_scale: float = 8.0,
    reg_max: int = 16,
    extra: str = "on_output",
    relu_extra: bool = False,
    selection: Options | None = None,
    frozen_stages: int | None = None,
    norm_eval: bool | None = None,
    body_options: Options | None = None,
) -> Detector:
    """GFL on P3..P7: one square anchor per cell; each edge is a distribution over 0 to `reg_max` strides."""
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_8(body, width, extra, relu_extra)
    chosen = choose(single_anchor.DETECTIONS, selection)
    options = {"width": width, "depth": depth, "anchor_scale": anchor_scale, "reg_max": reg_max, "selection": chosen}
    return assemble(body, neck, GFLHead(len(classes), width, neck.strides, **options), classes)


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
    body = make_body(backbone, pretrained, frozen_stages, norm_eval, body_options)
    neck = from_stride_8(body, width, extra, relu_extra, "group" if norm else None)
    chosen = choose(DETECTIONS, selection)
    options = {"width": width, "depth": depth, "point_scale": point_scale, "norm": norm, "selection": chosen}
    return assemble(body, neck, RepPointsHead(len(classes), width, neck.strides, **options), classes)
