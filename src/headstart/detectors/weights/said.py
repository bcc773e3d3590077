"""Whether what the user says a file is (`--as`) can be true of it: a word that is not followed is an error."""

from __future__ import annotations

import re
from collections.abc import Callable

from headstart.detectors.weights.matching import Reading
from headstart.errors import UserError

FAMILIES = {
    "retinanet": r"retina",
    "fcos": r"fcos",
    "atss": r"atss",
    "gfl": r"gfl",
    "reppoints": r"reppoints",
    "cascadercnn": r"cascade",
    "fasterrcnn": r"(?<!cascade.)(faster|mask).?rcnn",
}

BACKBONES = {
    r"swin": r"(?<![a-z])swin",
    r"mnv2|mobilenetv2": r"mobilenet.?v2|mnv2",
    r"mnv3": r"mobilenet.?v3",
    **{rf"resnet{depth}(_2)?$": rf"(?<![a-z])(r|resnet).?{depth}(?!\d)" for depth in (18, 34, 50, 101, 152)},
    **{rf"resnext{depth}_": rf"(?<![a-z])(x|resnext).?{depth}(?!\d)" for depth in (50, 101)},
}
"""Our name of a backbone, and what others call it (regular expressions)."""


def _starts_with_strides(reading: Reading) -> bool:
    return bool(reading.recipe.get("body_options", {}).get("first_stride"))


WORDS: dict[str, Callable[[Reading], bool]] = {
    "caffe": lambda reading: reading.order == "BGR",
    "pytorch": lambda reading: not _starts_with_strides(reading),
    "relu6": lambda reading: reading.recipe["backbone"] == "mobilenetv2_100",
    "leaky": lambda reading: reading.recipe["backbone"] == "mnv2",
    "detectron2": lambda reading: reading.order == "BGR",
    "normbbox": lambda reading: bool(reading.recipe.get("improved")),
    "centeronreg": lambda reading: bool(reading.recipe.get("improved")),
    "coco": lambda _: True,
}
"""Words that settle something, and whether it was settled so."""


def check_said(said: str | None, reading: Reading) -> None:
    """Raises UserError if the word of the user says something else than the file, or nothing that could matter."""
    if said is None:
        return
    families = {name for name, pattern in FAMILIES.items() if re.search(pattern, said, re.IGNORECASE)}
    bodies = [own for own, pattern in BACKBONES.items() if re.search(pattern, said, re.IGNORECASE)]
    words = [word for word in WORDS if word in said.lower()]
    if not families and not bodies and not words:
        raise UserError(
            f"is {reading.source}, and --as {said} says nothing of it: leave it out, or give the name of a "
            f"configuration, of torchvision's function, or {', '.join(WORDS)}"
        )
    wrong = [word for word in words if not WORDS[word](reading)]
    if families and reading.recipe["name"] not in families:
        wrong += sorted(families)
    if bodies and not any(re.search(own, reading.recipe["backbone"]) for own in bodies):
        wrong += [re.split(r"\W|_", own)[0] for own in bodies]
    if reading.recipe.get("convention") == "torchvision" and "resnet50_fpn" in said:
        second = bool(reading.recipe.get("norm") or reading.recipe.get("neck_norm"))
        wrong += [f"version {1 if second else 2}"] if ("_v2" in said) != second else []
    if wrong:
        raise UserError(f"is {reading.source} and does not agree with --as {said} ({', '.join(wrong)}): leave that out")
