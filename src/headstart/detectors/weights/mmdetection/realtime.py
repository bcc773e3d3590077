"""RTMDet and YOLOX by mmdetection's names: which size they are, and what their weights leave open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.backbones.csp_darknet import BLOCKS as DARKNET_BLOCKS
from headstart.backbones.scalable import SCALES
from headstart.csp import scale_depth
from headstart.detectors.realtime import EXPONENTIAL_FROM, PAD, PYRAMID
from headstart.detectors.weights.architecture import count_layers, shape_of
from headstart.detectors.weights.key_mapping import KeyRules, LeftOut, ParsedCheckpoint, RenamedTensors, rename_tensors
from headstart.detectors.weights.mmdetection import names
from headstart.detectors.weights.mmdetection.config import (
    DETECTRON2,
    UNLIMITED,
    Normalisation,
    demand,
    read_selection,
    read_size,
)
from headstart.detectors.weights.mmdetection.config_text import Config, find_type, look
from headstart.errors import UserError

REALTIME = ("rtmdet", "yolox")

RAW: Normalisation = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "BGR")
"""YOLOX reads pixels as they are."""

SIDES = {"csp_darknet_nano": 416, "csp_darknet_tiny": 416}
"""Of the images that a size was tested with, where it is not 640 pixels."""

CSPNEXT_BLOCKS = (3, 6, 6, 3)

HEADS: dict[str, dict[str, object]] = {
    "rtmdet": {
        "type": "RTMDetSepBNHead",
        "with_objectness": False,
        "share_conv": True,
        "pred_kernel_size": 1,
        "anchor_generator.type": "MlvlPointGenerator",
        "anchor_generator.offset": 0,
        "anchor_generator.strides": [8, 16, 32],
        "bbox_coder.type": "DistancePointBBoxCoder",
    },
    "yolox": {"type": "YOLOXHead", "strides": [8, 16, 32], "use_depthwise": None, "dcn_on_last_conv": False},
}
"""Family -> path in the configuration of its head -> the only value that can be imported; None: seen in the weights."""

REFUSED = {
    "rtm_obj": "an objectness",
    "rtm_ang": "rotated boxes",
    "rtm_kernel": "masks (RTMDet-Ins)",
    "mask_head": "masks (RTMDet-Ins)",
}
"""Parts of variants of RTMDet's head, and what they are for."""


@dataclass(frozen=True)
class Realtime:
    """What a file says of an RTMDet or YOLOX.

    outputs   classes;  recipe  all of it but classes;  pixels  how the official ones are normalised
    """

    family: str
    outputs: int
    recipe: dict[str, object]
    renamed: RenamedTensors
    pixels: Normalisation
    side: int
    notes: list[str]

    def parse(
        self,
        library: str,
        classes: Sequence[str],
        pixels: Normalisation,
        config: Config,
        notes: Sequence[str],
    ) -> ParsedCheckpoint:
        """The whole, with the class names and the normalisation."""
        mean, std, order = pixels
        size, said = read_size(config, (self.side, self.side), "the official one did when it was tested")
        backbone = self.recipe["backbone"]
        source = f"{library}'s {names.TITLES[self.family, False]} on {backbone}"
        pad = _padding(config)
        return ParsedCheckpoint(
            source,
            {**self.recipe, "classes": list(classes)},
            dict(self.renamed.tensors),
            self.renamed.file_keys,
            mean,
            std,
            order,
            size,
            [
                *notes,
                *self.notes,
                *self.renamed.notes(),
                f"images are normalised as {order}, mean {mean}, deviation {std}, and padded with {pad:g}",
                *said,
            ],
            pad,
        )


def read_realtime(tensors: Mapping[str, Tensor], family: str, config: Config, left_out: LeftOut) -> Realtime:
    """An RTMDet or YOLOX by mmdetection's names. Raises UserError for variants that headstart does not have."""
    _check_config(family, config)
    if family == "rtmdet":
        _check_variants(tensors)
        left_out = [*left_out, *names.SHARED]
    body, rules, official = _read_body(tensors, family)
    head_rules = names.RTMDET if family == "rtmdet" else names.YOLOX
    renamed = rename_tensors(tensors, [*rules, *names.PAFPN, *head_rules], left_out)
    ours = renamed.tensors
    outputs, width, *_ = shape_of(ours, "head.cls.0.weight", 4)
    recipe: dict[str, object] = {
        "name": family,
        **body,
        "width": width,
        "depth": count_layers(ours, r"head\.cls_tower\.norms\.0\.(\d+)\.weight"),
        "neck_blocks": count_layers(ours, r"neck\.bottom_up_blocks\.0\.blocks\.(\d+)\..+"),
        "frozen_stages": 0,
        "norm_eval": False,
    }
    notes = [] if config else ["no configuration lies in the file, so the official one of this size is assumed"]
    if family == "rtmdet":
        said = look(config, "model.bbox_head")
        by_size = width >= PYRAMID * EXPONENTIAL_FROM
        recipe["exponential"] = bool(look(config, "model.bbox_head.exp_on_reg", False)) if said else by_size
        if not said:
            how = "exponential, as in sizes m, l and x" if by_size else "linear, as in sizes tiny and s"
            notes.append(f"distances are taken to be {how}")
        selection: dict[str, object] = {"nms_pre": 30000, "score_threshold": 0.001, "max_detections": 300}
        pixels = DETECTRON2
    else:
        recipe |= {"depthwise": "head.cls_tower.convs.0.0.1.weight" in ours, "assigner": "mmdetection"}
        selection = {"nms_pre": UNLIMITED, "score_threshold": 0.01, "max_detections": UNLIMITED}
        pixels = RAW
    recipe["selection"] = {**selection, "iou_threshold": 0.65, **read_selection(config)}
    return Realtime(family, outputs, recipe, renamed, pixels, SIDES.get(official, 640), notes)


def _check_config(family: str, config: Config) -> None:
    """Raises UserError for a configuration of another detector than headstart has."""
    for path, value in HEADS[family].items():
        if value is not None:
            demand(config, f"model.bbox_head.{path}", value)
    demand(config, "model.neck.type", "CSPNeXtPAFPN" if family == "rtmdet" else "YOLOXPAFPN")
    eps = 1e-5 if family == "rtmdet" else 1e-3
    for part in ("backbone", "neck", "bbox_head"):
        if not look(config, f"model.{part}"):
            continue
        # The classes' own default, where a configuration has no norm_cfg, is YOLOX's.
        norm = look(config, f"model.{part}.norm_cfg")
        found = look(norm, "eps", 1e-5) if norm else 1e-3
        if found != eps:
            raise UserError(f"has batch norms with eps {found} in its {part}, where only {eps:g} can be imported")
        demand(config, f"model.{part}.act_cfg.type", "SiLU", "Swish")


def _check_variants(tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        for part, purpose in REFUSED.items():
            if key.startswith("bbox_head.") and part in key:
                raise UserError(f"is an RTMDet with {purpose} ({key}), which cannot be imported")
        found = re.fullmatch(r"(bbox_head\.(?:cls|reg)_convs\.)[1-9]\d*(\.\d+\.conv\.weight)", key)
        first = tensors.get(f"{found[1]}0{found[2]}") if found else None
        if found and (first is None or first.shape != tensor.shape or not torch.equal(first, tensor)):
            raise UserError(f"is an RTMDet whose levels do not share {key}, which cannot be imported")


def _read_body(tensors: Mapping[str, Tensor], family: str) -> tuple[dict[str, object], KeyRules, str]:
    """The recipe's backbone and what it departs by, the rules of its names, and the official size it is next to."""
    first = "backbone.stem.0.conv.weight" if family == "rtmdet" else "backbone.stem.conv.conv.weight"
    if first not in tensors:
        body = "CSPNeXt" if family == "rtmdet" else "CSPDarknet"
        raise UserError(f"has a backbone that is not known: expected {body}, which has {first}")
    nano = "backbone.stage1.0.depthwise_conv.conv.weight" in tensors
    last = "pointwise_conv.conv.weight" if nano else "conv.weight"
    channels = [shape_of(tensors, f"backbone.stage{stage}.0.{last}", 4)[0] for stage in range(1, 5)]
    counts = []
    for stage in range(1, 5):
        place = 2 if stage == 4 else 1
        counts.append(count_layers(tensors, rf"backbone\.stage{stage}\.{place}\.blocks\.(\d+)\..+"))
    start, blocks, rules = ("cspnext_", CSPNEXT_BLOCKS, names.CSPNEXT)
    if family == "yolox":
        start, blocks, rules = ("csp_darknet_", DARKNET_BLOCKS, names.CSP_DARKNET)
    for name, scale in SCALES.items():
        fits = name.startswith(start) and scale.depthwise == nano
        if fits and (channels, counts) == _stages(scale.widen, scale.deepen, blocks):
            return {"backbone": name}, rules, name
    name = f"{start}nano" if nano else f"{start}s"
    widen = channels[1] / PYRAMID
    for deepen in [SCALES[name].deepen, *(count / most for count, most in zip(counts, blocks))]:
        if (channels, counts) == _stages(widen, deepen, blocks):
            return {"backbone": name, "body_options": {"widen": widen, "deepen": deepen}}, rules, name
    raise UserError(
        f"has a body of {', '.join(map(str, channels))} channels and {', '.join(map(str, counts))} blocks, which is "
        f"no multiple of the official one ({', '.join(map(str, blocks))} blocks)"
    )


def _stages(widen: float, deepen: float, blocks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Channels and blocks of the four stages."""
    channels = [int(PYRAMID * 2**power * widen) for power in (-1, 0, 1, 2)]
    return channels, [scale_depth(count, deepen) for count in blocks]


def _padding(config: Config) -> float:
    """The raw value of the padding when the detector was tested. Raises UserError if channels differ."""
    places = [config.get("test_pipeline"), look(config, "test_dataloader"), look(config, "data.test")]
    for found in find_type(places, "Pad"):
        given = look(found, "pad_val.img", look(found, "pad_val"))
        values = set(given) if isinstance(given, list) else {given}
        if len(values) == 1 and isinstance(value := values.pop(), int | float) and 0 <= value <= 255:
            return float(value)
        if given is not None:
            raise UserError(f"pads images with {given} in its configuration; only one value from 0 to 255 can be used")
    return PAD
