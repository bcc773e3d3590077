"""The dense detectors, each on any backbone with maps at strides 8, 16 and 32: their options and their builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.detectors.detector import Detector
from headstart.detectors.parts import DenseDetectorOptions, assemble, from_stride_8, make_body
from headstart.heads.atss import ATSSHead, ATSSOptions
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.heads.gfl import GFLHead, GFLOptions
from headstart.heads.reppoints import RepPointsHead, RepPointsOptions
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.necks.fpn import Extra, Norm
from headstart.options import part_of


@dataclass(frozen=True, kw_only=True)
class RetinaNetOptions(RetinaOptions, DenseDetectorOptions):
    """Options of RetinaNet: of its head, pyramid and backbone."""


@dataclass(frozen=True, kw_only=True)
class FCOSDetectorOptions(FCOSOptions, DenseDetectorOptions):
    """Options of FCOS: of its head, pyramid and backbone."""

    extra: Extra = "on_output"
    relu_extra: bool = True


@dataclass(frozen=True, kw_only=True)
class ATSSDetectorOptions(ATSSOptions, DenseDetectorOptions):
    """Options of ATSS: of its head, pyramid and backbone."""

    extra: Extra = "on_output"


@dataclass(frozen=True, kw_only=True)
class GFLDetectorOptions(GFLOptions, DenseDetectorOptions):
    """Options of GFL: of its head, pyramid and backbone."""

    extra: Extra = "on_output"


@dataclass(frozen=True, kw_only=True)
class RepPointsDetectorOptions(RepPointsOptions, DenseDetectorOptions):
    """Options of RepPoints: of its head, pyramid and backbone. `norm`: GroupNorm in the pyramid too."""


def retinanet(classes: Sequence[str], backbone: str, options: RetinaNetOptions) -> Detector:
    """RetinaNet on P3..P7: two towers, 9 anchors per cell, from `anchor_scale` strides up."""
    return build_dense(RetinaHead, classes, backbone, options)


def fcos(classes: Sequence[str], backbone: str, options: FCOSDetectorOptions) -> Detector:
    """FCOS on P3..P7: two towers, a point per cell, centreness. `improved`: with its authors' later improvements."""
    return build_dense(FCOSHead, classes, backbone, options)


def atss(classes: Sequence[str], backbone: str, options: ATSSDetectorOptions) -> Detector:
    """ATSS on P3..P7: one square anchor per cell, `anchor_scale` strides wide, and a centreness."""
    return build_dense(ATSSHead, classes, backbone, options)


def gfl(classes: Sequence[str], backbone: str, options: GFLDetectorOptions) -> Detector:
    """GFL on P3..P7: one square anchor per cell; each edge is a distribution over 0 to `reg_max` strides."""
    return build_dense(GFLHead, classes, backbone, options)


def reppoints(classes: Sequence[str], backbone: str, options: RepPointsDetectorOptions) -> Detector:
    """RepPoints on P3..P7: nine points per cell, moved in two stages. `norm`: GroupNorm in pyramid and head."""
    return build_dense(RepPointsHead, classes, backbone, options, "group" if options.norm else None)


def build_dense(
    kind: type[DenseHead],
    classes: Sequence[str],
    backbone: str,
    options: DenseDetectorOptions,
    norm: Norm = None,
) -> Detector:
    """A detector with a dense head of this kind on P3..P7. `norm`: of the pyramid.

    `options` have every field of the head's own (`kind.Options`).
    """
    body = make_body(backbone, options)
    neck = from_stride_8(body, options, norm)
    head = kind(len(classes), options.width, neck.strides, part_of(kind.Options, options))
    return assemble(body, neck, head, classes)
