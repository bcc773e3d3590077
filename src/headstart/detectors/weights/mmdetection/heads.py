"""The heads of mmdetection's detectors: how many classes they have, and the options that build them here."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from headstart.detectors.weights.architecture import count_layers, order_crops, shape_of
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.mmdetection.config import demand, number, read_selection
from headstart.detectors.weights.mmdetection.config_text import Config, look
from headstart.errors import UserError

Options = dict[str, object]

STRIDES = [8, 16, 32, 64, 128]
ZEROS = [0.0, 0.0, 0.0, 0.0]
STDS = [0.1, 0.1, 0.2, 0.2]
CASCADE_STDS = [STDS, [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067]]

ANCHORS: dict[str, object] = {
    "anchor_generator.type": "AnchorGenerator",
    "anchor_generator.strides": STRIDES,
    "anchor_generator.base_sizes": STRIDES,
    "anchor_generator.center_offset": 0.0,
    "bbox_coder.target_means": ZEROS,
    "norm_cfg.num_groups": 32,
}
EXPECTED: dict[str, dict[str, object]] = {
    "retinanet": {
        **ANCHORS,
        "anchor_generator.scales_per_octave": 3,
        "anchor_generator.ratios": [0.5, 1.0, 2.0],
        "bbox_coder.type": "DeltaXYWHBBoxCoder",
        "bbox_coder.target_stds": [1.0, 1.0, 1.0, 1.0],
        "loss_cls.use_sigmoid": True,
    },
    "atss": {
        **ANCHORS,
        "anchor_generator.scales_per_octave": 1,
        "anchor_generator.ratios": [1.0],
        "bbox_coder.type": "DeltaXYWHBBoxCoder",
        "bbox_coder.target_stds": STDS,
    },
    "gfl": {
        **ANCHORS,
        "anchor_generator.scales_per_octave": 1,
        "anchor_generator.ratios": [1.0],
        "bbox_coder.type": "DistancePointBBoxCoder",
    },
    "fcos": {"strides": STRIDES, "norm_cfg.num_groups": 32},
    "reppoints": {
        "point_strides": STRIDES,
        "num_points": 9,
        "transform_method": "moment",
        "use_grid_points": False,
        "center_init": True,
        "norm_cfg.num_groups": 32,
    },
}
"""Family -> path in the configuration of its head -> the only value that can be imported, if the path is there."""

RPN: dict[str, object] = {
    "anchor_generator.type": "AnchorGenerator",
    "anchor_generator.ratios": [0.5, 1.0, 2.0],
    "anchor_generator.strides": [4, 8, 16, 32, 64],
    "anchor_generator.base_sizes": [4, 8, 16, 32, 64],
    "anchor_generator.center_offset": 0.0,
    "bbox_coder.type": "DeltaXYWHBBoxCoder",
    "bbox_coder.target_means": ZEROS,
    "bbox_coder.target_stds": [1.0, 1.0, 1.0, 1.0],
    "loss_cls.use_sigmoid": True,
}
POOLING: dict[str, object] = {
    "type": "SingleRoIExtractor",
    "roi_layer.type": "RoIAlign",
    "roi_layer.output_size": 7,
    "roi_layer.out_size": 7,
    "roi_layer.sampling_ratio": 0,
    "roi_layer.sample_num": 0,
    "roi_layer.aligned": True,
    "roi_layer.pool_mode": "avg",
    "featmap_strides": [4, 8, 16, 32],
    "finest_scale": 56,
}


HEAD_TYPES: dict[str, tuple[str, ...]] = {
    "retinanet": ("RetinaHead", "FreeAnchorRetinaHead", "PISARetinaHead"),
    "fcos": ("FCOSHead",),
    "atss": ("ATSSHead",),
    "gfl": ("GFLHead", "LDHead"),
    "reppoints": ("RepPointsHead",),
}
"""Family -> the types of mmdetection's heads that decode boxes in the same way."""

BOX_VOTING_HEADS = ("PAAHead", "LADHead")
"""Heads with ATSS's tensors that average overlapping boxes, which headstart does not."""


def check_kind(config: Config, family: str, place: str) -> list[str]:
    """Notes on the type of a dense head, a sentence each. Raises UserError for one that decodes boxes differently."""
    kind = str(look(config, f"{place}.type", HEAD_TYPES[family][0])).rpartition(".")[2]
    if kind in BOX_VOTING_HEADS:
        raise UserError(f"has a {kind}, which lets its boxes vote; that cannot be imported")
    if kind in HEAD_TYPES[family]:
        return []
    return [f"its head is called {kind} in the configuration, and is read as {HEAD_TYPES[family][0]}"]


def read_dense(
    tensors: dict[str, Tensor], family: str, config: Config, hints: Hints, place: str
) -> tuple[int, Options]:
    """Number of classes and builder's options of a dense head.

    tensors  by our keys;  place  the path of the head in the configuration
    Raises UserError for a head that headstart does not have.
    """
    for path, value in EXPECTED[family].items():
        demand(config, f"{place}.{path}", value)
    options: Options = {"depth": count_layers(tensors, r"head\.cls_tower\.convs\.(\d+)\.weight")}
    more = DENSE[family](tensors, config, hints, place)
    part = "rpn" if place.endswith("rpn_head") else None
    own = more.pop("selection", None)
    options["selection"] = {**(own if isinstance(own, dict) else {}), **read_selection(config, part)}
    outputs = shape_of(tensors, "head.cls.weight", 4)[0]
    return outputs // 9 if family == "retinanet" else outputs, options | more


def _retinanet(tensors: dict[str, Tensor], config: Config, hints: Hints, place: str) -> Options:
    outputs, codes = (shape_of(tensors, f"head.{kind}.weight", 4)[0] for kind in ("cls", "reg"))
    if codes != 36 or outputs % 9:
        raise UserError(f"has {codes // 4} anchors per cell, RetinaNet's are 9")
    demand(config, f"{place}.anchor_generator.scales")
    scale = number(config, f"{place}.anchor_generator.octave_base_scale", 4)
    return {"anchor_scale": scale, "norm": "head.cls_tower.norms.0.weight" in tensors}


def _fcos(tensors: dict[str, Tensor], config: Config, hints: Hints, place: str) -> Options:
    biased = "head.cls_tower.convs.0.bias" in tensors  # beside a norm only the improved one has them
    if look(config, place):
        said = {look(config, f"{place}.{key}", False) for key in ("norm_on_bbox", "centerness_on_reg")}
    elif not biased:
        said = {False}
    else:
        said = {bool(hints.name_has("normbbox|centeronreg"))}
    if said != {biased}:
        raise UserError(
            "has an FCOS head between the plain and the improved one: expected norm_on_bbox, centerness_on_reg and "
            "conv_bias all or none. If it is the improved one and its configuration is lost, give --as "
            "fcos_center-normbbox-centeronreg-giou_caffe (or _pytorch)"
        )
    return {"improved": biased, "selection": {"iou_threshold": 0.6} if biased else {}}


def _square_anchor(tensors: dict[str, Tensor], config: Config, hints: Hints, place: str) -> Options:
    scale = number(config, f"{place}.anchor_generator.octave_base_scale", 8)
    scales = look(config, f"{place}.anchor_generator.scales")
    if isinstance(scales, list) and len(scales) == 1:  # the other way to say it
        scale = number({"scales": scales[0]}, "scales", 8)
    elif scales is not None:
        demand(config, f"{place}.anchor_generator.scales", [scale])
    return {"anchor_scale": scale}


def _gfl(tensors: dict[str, Tensor], config: Config, hints: Hints, place: str) -> Options:
    codes = shape_of(tensors, "head.reg.weight", 4)[0]
    if codes % 4 or codes < 8:
        raise UserError(f"has {codes} numbers per box, GFL's are four distributions")
    return {"reg_max": codes // 4 - 1, **_square_anchor(tensors, config, hints, place)}


def _reppoints(tensors: dict[str, Tensor], config: Config, hints: Hints, place: str) -> Options:
    if "head.moment" not in tensors:
        raise UserError("has RepPoints that make boxes by their extent; only those by their moments can be imported")
    scale = number(config, f"{place}.point_base_scale", 4)
    return {"point_scale": scale, "norm": "head.cls_tower.norms.0.weight" in tensors}


DENSE: dict[str, Callable[[dict[str, Tensor], Config, Hints, str], Options]] = {
    "retinanet": _retinanet,
    "fcos": _fcos,
    "atss": _square_anchor,
    "gfl": _gfl,
    "reppoints": _reppoints,
}


def read_two_stage(tensors: dict[str, Tensor], family: str, config: Config) -> tuple[int, Options]:
    """Number of classes and builder's options of an RPN and its box heads.

    tensors  by our keys; the first layers of the box heads are reordered in place (`order_crops`)
    Raises UserError for heads that headstart does not have.
    """
    for path, value in RPN.items():
        demand(config, f"model.rpn_head.{path}", value)
    for path, value in POOLING.items():
        demand(config, f"model.roi_head.bbox_roi_extractor.{path}", value)
    demand(config, "model.test_cfg.rpn.nms_across_levels", False)
    cascade = family == "cascadercnn"
    said = look(config, "model.roi_head.bbox_head", {})
    for stage, head in enumerate(said if isinstance(said, list) else [said]):
        demand({"bbox_head": head}, "bbox_head.bbox_coder.type", "DeltaXYWHBBoxCoder")
        demand({"bbox_head": head}, "bbox_head.bbox_coder.target_means", ZEROS)
        demand({"bbox_head": head}, "bbox_head.loss_cls.use_sigmoid", False)
        demand({"bbox_head": head}, "bbox_head.bbox_coder.target_stds", CASCADE_STDS[stage] if cascade else STDS)
    if shape_of(tensors, "head.rpn.cls.weight", 4)[0] != 3:
        raise UserError("has an RPN with other than 3 anchors per cell, which cannot be imported")

    heads = [f"head.roi.heads.{stage}" for stage in range(3)] if cascade else ["head.roi"]
    width = shape_of(tensors, "head.rpn.cls.weight", 4)[1]
    for head in heads:
        order_crops(tensors, f"{head}.fcs.0.weight", width)
    outputs, hidden = shape_of(tensors, f"{heads[0]}.cls.weight", 2)
    convs = count_layers(tensors, rf"{heads[0]}\.convs\.(\d+)\.weight")
    fcs = count_layers(tensors, rf"{heads[0]}\.fcs\.(\d+)\.weight")
    name = {(0, 2): "2fc", (4, 1): "4conv1fc"}.get((convs, fcs))
    if name is None:
        raise UserError(f"has a box head of {convs} convolutions and {fcs} layers: expected 2 layers, or 4 and 1")
    scales = look(config, "model.rpn_head.anchor_generator.scales", [8])
    single = isinstance(scales, list) and len(scales) == 1
    options: Options = {
        "hidden": hidden,
        "box_head": name,
        "anchor_scale": number({"scale": scales[0]} if single else {}, "scale", 8),
        "selection": read_selection(config, "rcnn"),
        "proposing": {key: value for key, value in read_selection(config, "rpn").items() if key != "score_threshold"},
    }
    demand(config, "model.rpn_head.anchor_generator.scales", [options["anchor_scale"]])
    demand(config, "model.rpn_head.anchor_generator.octave_base_scale")
    class_agnostic = shape_of(tensors, f"{heads[0]}.reg.weight", 2)[0] == 4 and outputs > 2
    if not cascade:
        options["class_agnostic"] = class_agnostic
    elif not class_agnostic and outputs > 2:
        raise UserError("has a cascade with boxes for each class; only one box for all classes can be imported")
    return outputs - 1, options
