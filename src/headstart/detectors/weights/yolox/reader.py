"""YOLOX's own checkpoints: mmdetection's YOLOX under other names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import KeyRules, ParsedCheckpoint, rename_tensors
from headstart.detectors.weights.mmdetection.config import TORCHVISION
from headstart.detectors.weights.mmdetection.reader import find_classes
from headstart.detectors.weights.mmdetection.realtime import RAW, read_realtime
from headstart.errors import UserError

_CSP = {"conv1": "main_conv", "conv2": "short_conv", "conv3": "final_conv"}
_BLOCKS = {
    r"backbone\.C3_p4": "neck.top_down_blocks.0",
    r"backbone\.C3_p3": "neck.top_down_blocks.1",
    r"backbone\.C3_n3": "neck.bottom_up_blocks.0",
    r"backbone\.C3_n4": "neck.bottom_up_blocks.1",
    **{rf"backbone\.backbone\.dark{stage + 1}\.1": f"backbone.stage{stage}.1" for stage in (1, 2, 3)},
    r"backbone\.backbone\.dark5\.2": "backbone.stage4.2",
}
_LAYERS = {
    r"backbone\.lateral_conv0": "neck.reduce_layers.0",
    r"backbone\.reduce_conv1": "neck.reduce_layers.1",
    r"backbone\.bu_conv2": "neck.downsamples.0",
    r"backbone\.bu_conv1": "neck.downsamples.1",
    **{rf"backbone\.backbone\.dark{stage + 1}\.0": f"backbone.stage{stage}.0" for stage in (1, 2, 3, 4)},
    r"backbone\.backbone\.dark5\.1": "backbone.stage4.1",
    r"backbone\.backbone\.stem": "backbone.stem",
}

NAMES: KeyRules = [
    *(
        (rf"{theirs}\.{old}\.(.+)", rf"{ours}.{new}.\1")
        for theirs, ours in _BLOCKS.items()
        for old, new in _CSP.items()
    ),
    *((rf"{theirs}\.m\.(.+)", rf"{ours}.blocks.\1") for theirs, ours in _BLOCKS.items()),
    *((rf"{theirs}\.(.+)", rf"{ours}.\1") for theirs, ours in _LAYERS.items()),
    (r"head\.stems\.(\d+)\.(.+)", r"neck.out_convs.\1.\2"),
    (r"head\.(cls|reg)_convs\.(.+)", r"bbox_head.multi_level_\1_convs.\2"),
    (r"head\.(cls|reg|obj)_preds\.(.+)", r"bbox_head.multi_level_conv_\1.\2"),
]
"""From YOLOX's names to mmdetection's, but for the two parts of a depthwise convolution."""

PARTS = {".dconv.": ".depthwise_conv.", ".pconv.": ".pointwise_conv."}

CURRENT_ENTRIES = ("best_ap", "curr_ap")
"""What only versions since 0.2 save beside the weights: their images are raw BGR."""


def is_yolox(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of YOLOX's own code."""
    return "backbone.backbone.stem.conv.conv.weight" in tensors and "head.cls_preds.0.weight" in tensors


def read_yolox(tensors: Mapping[str, Tensor], hints: Hints) -> ParsedCheckpoint:
    """The detector in a state dict of YOLOX's. Raises UserError where nothing says how its images were normalised."""
    renamed = rename_tensors(tensors, NAMES)
    theirs, file_keys = {}, {}
    for key, value in renamed.tensors.items():
        name = key
        for old, new in PARTS.items():
            name = name.replace(old, new)
        theirs[name], file_keys[name] = value, renamed.file_keys[key]
    found = read_realtime(theirs, "yolox", {}, ())
    found.recipe["assigner"] = "yolox"
    original = {own: file_keys[name] for own, name in found.renamed.file_keys.items()}
    found = replace(found, renamed=replace(found.renamed, file_keys=original))
    classes, notes = find_classes(found.outputs, hints)
    pixels = TORCHVISION if _is_legacy(hints) else RAW
    return found.parse("Megvii", classes, pixels, {}, notes)


def _is_legacy(hints: Hints) -> bool:
    """Whether images are RGB and normalised as ImageNet's, as in the first release's files (0.0.1).

    Those of release 0.1.1rc0, and whatever was trained since, read raw BGR. Names and shapes are the same.
    """
    if hints.name_has(r"legacy|32dot8"):
        return True
    if hints.by_user or any(entry in CURRENT_ENTRIES for entry in hints.entries):
        return False
    raise UserError(
        "does not say how its images are normalised, and YOLOX's files of the same names have two ways: give --as "
        "yolox (raw BGR: release 0.1.1rc0 and everything since), or --as yolox-legacy (RGB, mean and deviation of "
        "ImageNet: release 0.0.1)"
    )
