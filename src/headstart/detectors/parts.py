"""What the builders of detectors share: options of backbones and pyramids, and both of them made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.backbones import Backbone, build_backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.cells import CellOptions
from headstart.heads.protocol import Head
from headstart.necks import Neck
from headstart.necks.fpn import FPN, Extra, Norm
from headstart.options import Amount, Layers, Positive

Weights = bool | str | Path


@dataclass(frozen=True, kw_only=True)
class BodyOptions:
    """How a backbone departs from what its name says.

    first_stride, norm_eps, normed_stages   of an imported file, from timm's: the options of `headstart.backbones.adapt`
    widen, deepen   factors of channels and blocks, of RTMDet's and YOLOX's bodies (`headstart.backbones.scalable`)
    """

    first_stride: bool = False
    norm_eps: Amount | None = None
    normed_stages: tuple[int, ...] | None = None
    widen: Positive | None = None
    deepen: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Options of every detector.

    pretrained     True: ImageNet weights; False: from scratch; or a file of weights, see `build_backbone`
    frozen_stages  how many of the first stages are not trained (1: stem and C2); None: see `make_body`
    norm_eval      batch norms use their running statistics in training too; None: see `make_body`
    body_options   how the backbone departs from what its name says
    """

    pretrained: Weights = True
    frozen_stages: Layers | None = None
    norm_eval: bool | None = None
    body_options: BodyOptions = BodyOptions()


@dataclass(frozen=True, kw_only=True)
class DenseDetectorOptions(CellOptions, BackboneOptions):
    """Options of every dense detector; `width` is that of pyramid and towers.

    extra       what P6 is made of: C5 ("on_input"), P5 ("on_output") or P5's lateral map ("on_lateral")
    relu_extra  a ReLU before P7
    """

    extra: Extra = "on_input"
    relu_extra: bool = False


def make_body(name: str, options: BackboneOptions) -> Backbone:
    """The backbone called `name`.

    Unless the options say otherwise, pretrained ResNets keep stem and first stage frozen and use running statistics, as
    in the papers' recipes. Everything else, and whatever starts from scratch, trains whole with batch statistics.
    """
    resnet = name.startswith(("r18", "r34", "r50", "r101", "resnet", "resnext", "x101"))
    classic = options.pretrained is not False and resnet
    return build_backbone(
        name,
        pretrained=options.pretrained,
        frozen_stages=int(classic) if options.frozen_stages is None else options.frozen_stages,
        norm_eval=classic if options.norm_eval is None else options.norm_eval,
        **vars(options.body_options),
    )


def from_stride_8(body: Backbone, options: DenseDetectorOptions, norm: Norm = None) -> FPN:
    """P3..P7 for dense detectors."""
    return FPN(
        body.channels,
        body.strides,
        width=options.width,
        start=body.strides.index(8),
        levels=5,
        extra=options.extra,
        relu_extra=options.relu_extra,
        norm=norm,
    )


def from_stride_4(
    family: str, name: str, body: Backbone, width: int, norm: Norm = None, *, anywhere: bool = False
) -> FPN:
    """P2..P6 for two-stage detectors; with `anywhere`, all stages and one more, wherever they begin.

    Raises UserError for a backbone that begins at another stride than 4, unless `anywhere`.
    """
    if body.strides[0] != 4 and not anywhere:
        raise UserError(f"{family} needs a map at stride 4; backbone {name} begins at stride {body.strides[0]}")
    levels = len(body.strides) + 1
    return FPN(body.channels, body.strides, width=width, start=0, levels=levels, extra="maxpool", norm=norm)


def assemble(
    body: Backbone,
    neck: Neck,
    head: Head,
    classes: Sequence[str],
    *,
    pad: float | None = None,
    order: str = "RGB",
) -> Detector:
    """The whole, with the normalisation that the backbone was trained for."""
    mean, std = ([value * 255 for value in row] for row in (body.mean, body.std))
    return Detector(body, neck, head, classes, mean=mean, std=std, pad=pad, order=order)
