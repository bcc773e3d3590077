"""Places inside a detector that methods read, by name: `backbone/C3`, `neck/P3`, `cls_tower/2`, `region/fc0` ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from headstart.errors import demand_known
from headstart.structures import Features

if TYPE_CHECKING:
    from headstart.detectors.detector import Detector
    from headstart.heads.protocol import HeadOutputs


def tap_names(detector: Detector) -> list[str]:
    """Every place of a detector that `read_tap` knows.

    backbone, neck        all stages or levels; `backbone/C2` ..., `neck/P3` ...: one of them
    cls_tower, reg_tower  the last block of a dense head's tower; `cls_tower/0` ...: that block
    initial_conv ...      the layers between towers and predictions, in dense heads that have some
    output/cls ...        a dense head's predictions: cls, reg and, in some, quality
    region/fc0 ...        the fully connected layers of a two-stage detector's (first) box head
    """
    stages = [f"backbone/{name}" for name in level_names("C", detector.backbone.strides)]
    levels = [f"neck/{name}" for name in level_names("P", detector.neck.strides)]
    return ["backbone", *stages, "neck", *levels, *detector.head.tap_names()]


def tap_width(detector: Detector, name: str) -> int:
    """How many channels a place has. Raises UserError for a place that the detector does not have.

    Of `backbone`, whose stages differ, there is no one width: name a stage.
    """
    demand_known(name, [place for place in tap_names(detector) if place != "backbone"], "no place to read is called")
    part, _, which = name.partition("/")
    if part == "backbone":
        return detector.backbone.channels[level_names("C", detector.backbone.strides).index(which)]
    return detector.neck.width if part == "neck" else detector.head.tap_width(name)


def read_tap(detector: Detector, name: str, features: Features, outputs: HeadOutputs | None) -> list[Tensor]:
    """The values of a place, before its activation where it has one: a map (B, C, H, W) per level, or one (R, D).

    `features` and traced `outputs` are what the detector gave; the outputs only matter for places inside the head.
    """
    part, _, which = name.partition("/")
    if part == "backbone":
        return _choose(features.stages, which, "C", features.stage_strides)
    if part == "neck":
        return _choose(features.pyramid, which, "P", features.strides)
    return detector.head.read_tap(name, outputs)


def level_names(letter: str, strides: Sequence[int]) -> list[str]:
    """P3, P4, ... for strides 8, 16, ...: the letter and the logarithm of the stride."""
    return [f"{letter}{stride.bit_length() - 1}" for stride in strides]


def _choose(maps: list[Tensor], which: str, letter: str, strides: Sequence[int]) -> list[Tensor]:
    return [maps[level_names(letter, strides).index(which)]] if which else maps
