"""Detectors by name: a builder per family, on any backbone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from headstart.backbones import SHORT_NAMES
from headstart.detectors.dense import atss, fcos, gfl, reppoints, retinanet
from headstart.detectors.detector import Detector
from headstart.detectors.parts import Options, use_current_names
from headstart.detectors.two_stage import cascadercnn, fasterrcnn
from headstart.errors import UserError, demand_known, did_you_mean
from headstart.heads.dense import SELECTION_ALIASES

FAMILIES: dict[str, Callable[..., Detector]] = {
    "retinanet": retinanet,
    "fcos": fcos,
    "atss": atss,
    "gfl": gfl,
    "reppoints": reppoints,
    "fasterrcnn": fasterrcnn,
    "cascadercnn": cascadercnn,
}

DETECTORS: dict[str, tuple[str, str]] = {
    f"{family}_{short}": (family, short) for family in FAMILIES for short in SHORT_NAMES
}
"""Name -> family and backbone. Any other backbone: the family's name and `backbone=`."""

OPTION_ALIASES = {"reach": "reg_max", "agnostic": "class_agnostic", "void": "extra_logits"}
"""Former names of builders' options, as recipes and weight files may still have them, and today's."""


def build_detector(name: str, classes: Sequence[str], *, backbone: str | None = None, **options: Any) -> Detector:
    """The detector called `name` (`retinanet_r18`, or a family with `backbone=` a timm name) for these classes.

    `options` are the builder's keywords (`pretrained`, `width`, ...). Raises UserError for an unknown name or option,
    with the nearest known ones. Former names of options work too
    (`OPTION_ALIASES`, and `SELECTION_ALIASES` inside `selection` and `proposing`); the detector's recipe has today's.
    """
    family, short = DETECTORS.get(name, (name, None))
    if family not in FAMILIES or (short is None and backbone is None):
        raise UserError(_unknown(name))
    builder = FAMILIES[family]
    options = _use_current_names(name, options)
    known = [p for p in inspect.signature(builder).parameters if p not in ("classes", "backbone")]
    for option in options:
        demand_known(option, known, f"detector {name} has no option")
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


def _use_current_names(name: str, options: Options) -> Options:
    """A builder's options, and the numbers inside `selection` and `proposing`, under today's names."""
    current = use_current_names(options, OPTION_ALIASES, f"detector {name}")
    for key in ("selection", "proposing"):
        if isinstance(current.get(key), dict):
            current[key] = use_current_names(current[key], SELECTION_ALIASES, f"detector {name}: {key}")
    return current


def _unknown(name: str) -> str:
    near = did_you_mean(name, [*DETECTORS, *FAMILIES], most=3, otherwise="`headstart models` lists them")
    if name in FAMILIES:
        near = f"; say which backbone: {name}_r18, or {name} with backbone=NAME."
    return f"no detector is called '{name}'{near}"
