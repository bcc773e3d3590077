"""Checks the name that the user gave for a file (`--as`, `read_as`): a name that has no effect is an error."""

from __future__ import annotations

import re
from collections.abc import Callable

from headstart.detectors.weights.key_mapping import ParsedCheckpoint
from headstart.errors import UserError

FAMILIES = {
    "retinanet": r"retina",
    "fcos": r"fcos",
    "atss": r"atss",
    "gfl": r"gfl",
    "reppoints": r"reppoints",
    "rtmdet": r"rtmdet",
    "yolox": r"yolox",
    "cascadercnn": r"cascade",
    "fasterrcnn": r"(?<!cascade.)(faster|mask).?rcnn",
}

BACKBONES = {
    r"swin": r"(?<![a-z])swin",
    r"mnv2|mobilenetv2": r"mobilenet.?v2|mnv2",
    r"mnv3": r"mobilenet.?v3",
    **{rf"resnet{depth}(_2)?$": rf"(?<![a-z])(r|resnet).?{depth}(?!\d)" for depth in (18, 34, 50, 101, 152)},
    **{rf"resnext{depth}_": rf"(?<![a-z])(x|resnext).?{depth}(?!\d)" for depth in (50, 101)},
    **{rf"cspnext_{size}$": rf"rtmdet.{size}(?![a-z])" for size in ("tiny", "s", "m", "l", "x")},
    **{rf"csp_darknet_{size}$": rf"yolox.{size}(?![a-z])" for size in ("nano", "tiny", "s", "m", "l", "x")},
}
"""Our name of a backbone, and what others call it (regular expressions)."""


def _starts_with_strides(parsed: ParsedCheckpoint) -> bool:
    options = parsed.recipe.get("body_options")
    return isinstance(options, dict) and bool(options.get("first_stride"))


KEYWORDS: dict[str, Callable[[ParsedCheckpoint], bool]] = {
    "caffe": lambda parsed: parsed.order == "BGR",
    "pytorch": lambda parsed: not _starts_with_strides(parsed),
    "relu6": lambda parsed: parsed.recipe["backbone"] == "mobilenetv2_100",
    "leaky": lambda parsed: parsed.recipe["backbone"] == "mnv2",
    "detectron2": lambda parsed: parsed.order == "BGR",
    "normbbox": lambda parsed: bool(parsed.recipe.get("improved")),
    "centeronreg": lambda parsed: bool(parsed.recipe.get("improved")),
    "coco": lambda _: True,
    "legacy": lambda parsed: parsed.recipe["name"] == "yolox" and parsed.order == "RGB",
}
"""Words that decide what weights leave open, and whether a detector that was read has what the word says."""


def check_read_as(read_as: str | None, parsed: ParsedCheckpoint) -> None:
    """Raises UserError if the user's name contradicts the file, or contains no word that means anything."""
    if read_as is None:
        return
    families = {name for name, pattern in FAMILIES.items() if re.search(pattern, read_as, re.IGNORECASE)}
    bodies = [own for own, pattern in BACKBONES.items() if re.search(pattern, read_as, re.IGNORECASE)]
    words = [word for word in KEYWORDS if word in read_as.lower()]
    if not families and not bodies and not words:
        raise UserError(
            f"is {parsed.source}, and --as {read_as} says nothing of it: leave it out, or give the name of a "
            f"configuration, of torchvision's function, or {', '.join(KEYWORDS)}"
        )
    wrong = [word for word in words if not KEYWORDS[word](parsed)]
    if families and parsed.recipe["name"] not in families:
        wrong += sorted(families)
    if bodies and not any(re.search(own, str(parsed.recipe["backbone"])) for own in bodies):
        wrong += [re.split(r"\W|_", own)[0] for own in bodies]
    if parsed.recipe.get("convention") == "torchvision" and "resnet50_fpn" in read_as:
        second = bool(parsed.recipe.get("norm") or parsed.recipe.get("neck_norm"))
        wrong += [f"version {1 if second else 2}"] if ("_v2" in read_as) != second else []
    if wrong:
        raise UserError(
            f"is {parsed.source} and does not agree with --as {read_as} ({', '.join(wrong)}): leave that out"
        )
