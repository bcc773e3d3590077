"""Detectors by name: a family, with its builder and its options, on any backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart.backbones import SHORT_NAMES
from headstart.detectors import dense, realtime, two_stage
from headstart.detectors.detector import Detector
from headstart.detectors.names import SIZES, unknown_detector
from headstart.detectors.parts import BackboneOptions
from headstart.errors import UserError
from headstart.options import check_options, plain_options


@dataclass(frozen=True)
class Family:
    """How detectors of one kind are made.

    build    (classes, backbone, options) -> the detector; the first line of its docstring describes the family
    options  the frozen dataclass of the family's options, a `BackboneOptions`; its fields' types check what users give
    """

    build: Callable[..., Detector]
    options: type[BackboneOptions]


FAMILIES: dict[str, Family] = {
    "retinanet": Family(dense.retinanet, dense.RetinaNetOptions),
    "fcos": Family(dense.fcos, dense.FCOSDetectorOptions),
    "atss": Family(dense.atss, dense.ATSSDetectorOptions),
    "gfl": Family(dense.gfl, dense.GFLDetectorOptions),
    "reppoints": Family(dense.reppoints, dense.RepPointsDetectorOptions),
    "rtmdet": Family(realtime.rtmdet, realtime.RTMDetDetectorOptions),
    "yolox": Family(realtime.yolox, realtime.YOLOXDetectorOptions),
    "fasterrcnn": Family(two_stage.fasterrcnn, two_stage.FasterRCNNOptions),
    "cascadercnn": Family(two_stage.cascadercnn, two_stage.CascadeRCNNOptions),
}

DETECTORS: dict[str, tuple[str, str]] = {
    **SIZES,
    **{f"{family}_{short}": (family, short) for family in FAMILIES for short in SHORT_NAMES},
}
"""Name -> family and backbone. Any other backbone: the family's name and `backbone=`."""


def build_detector(name: str, classes: Sequence[str], *, backbone: str | None = None, **options: object) -> Detector:
    """The detector called `name` (`retinanet_r18`, or a family with `backbone=` a timm name) for these classes.

    `options` are those of the family (`FAMILIES[family].options`: `pretrained`, `width` ...), checked and converted by
    their types; a mapping for `selection` or `proposing` changes only the numbers that it names. Former names of
    options work too; the detector's recipe has today's, and only what was given.

    Raises UserError for an unknown name or option, with the nearest known ones, and for a value that an option cannot
    have.
    """
    family, short = DETECTORS.get(name, (name, None))
    if family not in FAMILIES or (short is None and backbone is None):
        raise UserError(unknown_detector(name, FAMILIES))
    made = FAMILIES[family]
    checked = check_options(made.options, options, f"detector {name}")
    if isinstance(classes, str):
        raise UserError(f"detector {name}: classes must be a list of names, such as ['{classes}'], not one name")
    if not classes:
        raise UserError(f"detector {name} needs at least one class")
    detector = made.build(tuple(classes), backbone or short, checked)
    lasting = {key: value for key, value in plain_options(checked, options).items() if key != "pretrained"}
    # What "frozen" came to depends on `pretrained`, which a saved detector no longer has: keep the answer.
    lasting |= {"frozen_stages": detector.backbone.frozen_stages, "norm_eval": detector.backbone.norm_eval}
    detector.recipe = {"name": family, "backbone": backbone or short, "classes": list(classes), **lasting}
    return detector
