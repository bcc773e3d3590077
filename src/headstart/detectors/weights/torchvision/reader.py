"""torchvision's detectors: which one a state dict is, how to build it here, and its tensors in our order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from headstart.detectors.weights.architecture import count_layers, name_resnet, order_crops, shape_of, take_rows
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import ImageSize, ParsedCheckpoint, rename_tensors
from headstart.detectors.weights.torchvision import names
from headstart.errors import UserError

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
SIZES: dict[str, ImageSize] = {"800": {"short": 800, "long": 1333}, "320": {"short": 320, "long": 640}}

COCO_OUTPUTS = 91

NOT_SAVED = object()
"""In place of an argument of the training program that the file does not have."""


def is_torchvision(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of torchvision's RetinaNet, FCOS or R-CNNs."""
    heads = ("head.classification_head.", "roi_heads.", "rpn.head.")
    return any(key.startswith("backbone.") for key in tensors) and any(key.startswith(heads) for key in tensors)


def read_torchvision(tensors: Mapping[str, Tensor], hints: Hints) -> ParsedCheckpoint:
    """The detector in a state dict of torchvision's.

    Raises UserError for detectors that headstart has no equal of, for names that are not understood, and where the
    weights fit several detectors and nothing says which.
    """
    if not any(key.startswith("backbone.fpn.") for key in tensors):
        raise UserError("is a torchvision detector without a feature pyramid (such as SSD), which cannot be imported")
    if any(key.startswith("roi_heads.keypoint") for key in tensors):
        raise UserError("is torchvision's Keypoint R-CNN, which cannot be imported")
    if "roi_heads.box_predictor.cls_score.weight" in tensors:
        return _read_rcnn(tensors, hints)
    if "head.regression_head.bbox_ctrness.weight" in tensors:
        return _read_dense(tensors, hints, "fcos")
    return _read_dense(tensors, hints, "retinanet")


def _read_dense(tensors: Mapping[str, Tensor], hints: Hints, family: str) -> ParsedCheckpoint:
    rules = {"retinanet": names.RETINANET, "fcos": names.FCOS}[family]
    renamed = rename_tensors(tensors, [*names.RESNET, *names.FPN, *rules])
    ours = dict(renamed.tensors)
    width = shape_of(ours, "head.cls.weight", 4)[1]
    anchors = shape_of(ours, "head.reg.weight", 4)[0] // 4
    wanted = {"retinanet": 9, "fcos": 1}[family]
    rows = shape_of(ours, "head.cls.weight", 4)[0]
    if anchors != wanted or rows % anchors:
        raise UserError(f"has {anchors} anchors per cell; torchvision's {family} has {wanted}")
    classes, kept, notes = _choose_outputs(rows // anchors, hints, background=False)
    for key in ("head.cls.weight", "head.cls.bias"):
        ours[key] = take_rows(ours, key, rows, renamed.file_keys).unflatten(0, (anchors, -1))[:, kept].flatten(0, 1)
    backbone, body = _read_resnet(tensors, hints, family)
    recipe: dict[str, object] = {
        "name": family,
        "backbone": backbone,
        "classes": list(classes),
        "width": width,
        "depth": count_layers(ours, r"head\.cls_tower\.convs\.(\d+)\.weight"),
        "relu_extra": True,
        "convention": "torchvision",
        **body,
    }
    if family == "fcos":
        recipe |= {"improved": True, "selection": {"score_threshold": 0.2, "iou_threshold": 0.6, "min_size": None}}
        for level in range(5):
            ours[f"head.scales.{level}"] = torch.ones(())  # torchvision has none
    else:
        on_output = shape_of(ours, "neck.extra.0.weight", 4)[1] == width
        recipe |= {"norm": "head.cls_tower.norms.0.weight" in ours, "extra": "on_output" if on_output else "on_input"}
        recipe |= {"selection": {"max_detections": 300, "min_size": None}}
    source = f"torchvision's {names.TITLES[family]} on {backbone}"
    return _parsed(source, recipe, ours, renamed.file_keys, "800", renamed.notes() + notes)


def _read_rcnn(tensors: Mapping[str, Tensor], hints: Hints) -> ParsedCheckpoint:
    mobile = "backbone.body.0.0.weight" in tensors
    batch = "backbone.fpn.inner_blocks.0.1.running_mean" in tensors
    neck = names.FPN_NORM if batch else names.FPN
    body_rules = names.MOBILENET_V3 if mobile else names.RESNET
    renamed = rename_tensors(tensors, [*body_rules, *neck, *names.FASTER_RCNN], names.MASKS)
    ours = dict(renamed.tensors)
    outputs = shape_of(ours, "head.roi.cls.weight", 2)[0]
    if shape_of(ours, "head.roi.reg.weight", 2)[0] != outputs * 4 or outputs < 2:
        raise UserError(f"has {outputs} classes but boxes for another number of them")
    classes, kept, notes = _choose_outputs(outputs, hints, background=True)
    width = shape_of(ours, "head.rpn.cls.weight", 4)[1]
    void = [row for row in range(1, outputs) if row not in kept]
    for kind in ("weight", "bias"):
        key = f"head.roi.cls.{kind}"
        ours[key] = take_rows(ours, key, outputs, renamed.file_keys)[[*kept, 0, *void]]
        key = f"head.roi.reg.{kind}"
        ours[key] = take_rows(ours, key, outputs * 4, renamed.file_keys).unflatten(0, (-1, 4))[kept].flatten(0, 1)
    order_crops(ours, "head.roi.fcs.0.weight", width)
    recipe: dict[str, object] = {
        "name": "fasterrcnn",
        "classes": list(classes),
        "width": width,
        "hidden": shape_of(ours, "head.roi.cls.weight", 2)[1],
        "box_head": "4conv1fc" if "head.roi.convs.0.weight" in ours else "2fc",
        "rpn_depth": count_layers(ours, r"head\.rpn\.tower\.convs\.(\d+)\.weight"),
        "extra_logits": len(void),
        "neck_norm": "batch" if batch else None,
        "convention": "torchvision",
        "selection": {"min_size": 1e-2},
        "proposing": {"min_size": 1e-3},
    }
    kind = "maskrcnn" if "masks are left out, boxes are read" in renamed.left_out else "fasterrcnn"
    size = "800"
    if mobile:
        size = _which_mobilenet(hints)
        few = {"nms_pre": 150, "max_detections": 150} if size == "320" else {}
        recipe |= {"backbone": "mnv3l_pair", "frozen_stages": 0, "norm_eval": False}
        recipe |= {
            "anchor_sizes": [32, 64, 128, 256, 512],
            "proposing": {"min_size": 1e-3, "score_threshold": 0.05, **few},
        }
    else:
        backbone, body = _read_resnet(tensors, hints, kind)
        recipe |= {"backbone": backbone, **body}
    source = f"torchvision's {names.TITLES[kind]} on {'mobilenet_v3_large' if mobile else recipe['backbone']}"
    return _parsed(source, recipe, ours, renamed.file_keys, size, renamed.notes() + notes)


def _which_mobilenet(hints: Hints) -> str:
    """The size of image; the two MobileNetV3 detectors have the same weights' names and shapes."""
    if hints.name_has(r"mobilenet_v3_large_320_fpn"):
        return "320"
    if hints.name_has(r"mobilenet_v3_large_fpn"):
        return "800"
    raise UserError(
        "fits two detectors of torchvision, for images of 320 and of 800 pixels: say which by "
        "--as fasterrcnn_mobilenet_v3_large_320_fpn or --as fasterrcnn_mobilenet_v3_large_fpn"
    )


def _read_resnet(tensors: Mapping[str, Tensor], hints: Hints, kind: str) -> tuple[str, dict[str, object]]:
    """timm's name and the builder's options of the backbone."""
    backbone = name_resnet(tensors, "backbone.body.")
    frozen = not any(key.startswith("backbone.body.") and key.endswith("num_batches_tracked") for key in tensors)
    options: dict[str, object] = {"frozen_stages": 1, "norm_eval": True}
    if frozen and _exact_norms(tensors, hints, kind, backbone):
        options["body_options"] = {"norm_eps": 0.0}
    return backbone, options


def _exact_norms(tensors: Mapping[str, Tensor], hints: Hints, kind: str, backbone: str) -> bool:
    """Whether frozen batch norms divide by the deviation itself, nothing added.

    That is so in models that began from torchvision's COCO weights of these three builders; the file does not say.
    """
    if backbone != "resnet50" or kind == "fcos":
        return False
    builder = f"{kind}_resnet50_fpn"
    if hints.name_has(rf"{builder}_coco"):
        return True
    started = hints.settings.get("weights", hints.settings.get("pretrained", NOT_SAVED))
    if hints.name_has(rf"{builder}$") and not hints.by_user and started is not NOT_SAVED:
        return bool(started)
    if hints.name_has(rf"{builder}$") and hints.by_user:
        return False
    variances = [value for key, value in tensors.items() if key.startswith("backbone.") and key.endswith("running_var")]
    if all(bool((value > 0.1).all()) for value in variances):
        return False  # 1e-5 more is less than 0.005 % of any layer's scale; trained networks have far smaller ones
    raise UserError(
        "has frozen batch norms, which torchvision computes in two ways: --as "
        f"{builder}_coco if training began from torchvision's COCO weights (nothing is added to the variance), --as "
        f"{builder} if it began from the backbone alone (1e-5 is added)"
    )


def _choose_outputs(outputs: int, hints: Hints, *, background: bool) -> tuple[tuple[str, ...], list[int], list[str]]:
    """The class names, the rows of the outputs that belong to them, and what is to be said of it.

    Label 0 is background in torchvision. Dense heads have an output for it all the same, which nothing is trained on
    by those who count classes from 1; others count from 0 and use it (`background` False: both are possible).
    """
    named = hints.classes
    if named is None and outputs == COCO_OUTPUTS:
        every = names.coco_outputs()
        kept = [row for row, name in enumerate(every) if name not in (names.BACKGROUND, names.UNUSED)]
        note = (
            "91 outputs are COCO's category numbers: its 80 classes are kept, background and 10 unused numbers are not "
            "classes (say --classes if these are others)"
        )
        return tuple(every[row] for row in kept), kept, [note]
    if named is None:
        count = f"{outputs - 1}" if background else f"{outputs - 1} (label 0 is background) or {outputs}"
        raise UserError(
            f"does not say what its {outputs} outputs are called: give --classes NAME,NAME,... with {count} names in "
            "the order of the labels, or a file with one name a line"
        )
    if len(named) == outputs - 1:
        return named, list(range(1, outputs)), ["output 0 is background and left out"]
    if len(named) == outputs and not background:
        return named, list(range(outputs)), []
    expected = f"{outputs - 1} classes and background" if background else f"{outputs} outputs"
    raise UserError(f"has {expected}, but {len(named)} classes are named: {', '.join(named[:12])}")


def _parsed(
    source: str,
    recipe: dict[str, object],
    ours: dict[str, Tensor],
    file_keys: dict[str, str],
    size: str,
    notes: list[str],
) -> ParsedCheckpoint:
    sides: ImageSize = {**SIZES[size], "resize": "torchvision"}
    said = (
        f"images are resized as torchvision does, to {sides['short']} pixels and at most {sides['long']} (or --imgsz)"
    )
    return ParsedCheckpoint(source, recipe, ours, file_keys, MEAN, STD, "RGB", sides, [*notes, said])
