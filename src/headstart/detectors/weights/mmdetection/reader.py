"""mmdetection's detectors, 2.x and 3.x: which one a state dict is, how to build it, and its tensors in our order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from headstart.detectors.weights.architecture import count_layers, shape_of
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import LeftOut, ParsedCheckpoint, rename_tensors
from headstart.detectors.weights.mmdetection import names
from headstart.detectors.weights.mmdetection.backbones import read_backbone
from headstart.detectors.weights.mmdetection.config import config_of, demand, read_size, said_normalisation
from headstart.detectors.weights.mmdetection.config_text import Config, find_type, look
from headstart.detectors.weights.mmdetection.heads import Options, check_kind, read_dense, read_two_stage
from headstart.detectors.weights.mmdetection.realtime import REALTIME, read_realtime
from headstart.detectors.weights.torchvision.names import coco_classes
from headstart.errors import UserError

HEADS = ("bbox_head.", "rpn_head.", "roi_head.")
TWO_STAGE = ("fasterrcnn", "cascadercnn")


def is_mmdetection(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a detector of mmdetection's, of any kind."""
    return any(key.startswith("backbone.") for key in tensors) and any(key.startswith(HEADS) for key in tensors)


def read_mmdetection(tensors: Mapping[str, Tensor], hints: Hints) -> ParsedCheckpoint:
    """The detector in a state dict of mmdetection's, or of a distillation that was built on it.

    Raises UserError for detectors that headstart has no equal of, for names that are not understood, and where nothing
    says what the weights leave open.
    """
    config = config_of(hints)
    tensors, left_out = _without_assistant(tensors)
    assisted = len(left_out) > len(ALWAYS_LEFT_OUT)
    family = _find_family([key for key in tensors if not (assisted and key.startswith("roi_head."))])
    if family in REALTIME:
        return _read_realtime(tensors, family, config, hints)
    body = read_backbone(
        tensors,
        config,
        hints,
        plain_fcos=family == "fcos" and "bbox_head.cls_convs.0.conv.bias" not in tensors,
        assisted=assisted,
    )
    _check_project(tensors)
    laterals = count_layers(tensors, r"neck\.lateral_convs\.(\d+)\..+")
    normed = "neck.lateral_convs.0.conv.bias" not in tensors
    rules = {"fasterrcnn": [*names.RPN, *names.BOX_HEAD], "cascadercnn": [*names.RPN, *names.CASCADE]}
    renamed = rename_tensors(
        tensors,
        [*body.key_rules, *names.fpn_rules(laterals, normed), *rules.get(family, names.DENSE)],
        [*left_out, *body.left_out],
    )
    ours = body.reorder(dict(renamed.tensors))
    if family in TWO_STAGE:
        outputs, options = read_two_stage(ours, family, config)
        kind = []
    else:
        place = "model.rpn_head" if assisted else "model.bbox_head"
        kind = check_kind(config, family, place)
        outputs, options = read_dense(ours, family, config, hints, place)
    classes, notes = find_classes(outputs, hints)
    notes += kind
    recipe: Options = {"name": family, "backbone": body.name, "classes": list(classes), **options, **body.options}
    recipe |= _read_neck(ours, family, config, laterals, normed, options)
    mean, std, order = body.pixels
    size, said = read_size(config)
    masked = family in TWO_STAGE and any(key.startswith("roi_head.mask_head.") for key in tensors)
    source = f"mmdetection's {names.TITLES[family, masked]} on {body.name}"
    if not config:
        notes.append("no configuration lies in the file, so what the weights leave open is taken from its name")
    notes += [
        *renamed.notes(),
        *body.notes,
        f"images are normalised as {order}, mean {mean}, deviation {std}",
        *said,
    ]
    if any(find_type(config, "soft_nms")):
        notes.append("it was tested with soft-NMS there, plain NMS is used here")
    return ParsedCheckpoint(source, recipe, ours, renamed.file_keys, mean, std, order, size, notes)


def _read_realtime(tensors: Mapping[str, Tensor], family: str, config: Config, hints: Hints) -> ParsedCheckpoint:
    """RTMDet and YOLOX, which have bodies and a pyramid of their own."""
    found = read_realtime(tensors, family, config, [*names.AVERAGES, *names.ADAPTERS])
    classes, notes = find_classes(found.outputs, hints)
    pixels = said_normalisation(config) or found.pixels
    return found.parse("mmdetection", classes, pixels, config, notes)


ALWAYS_LEFT_OUT: LeftOut = [*names.MASKS, *names.AVERAGES, *names.ADAPTERS, *names.CONSTANTS]


def _without_assistant(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], LeftOut]:
    """The tensors with the head's under `bbox_head`, and what is to be left out.

    HEAD's students have their own head under `rpn_head` and their assistant under `roi_head`.
    """
    own = [key.removeprefix("bbox_head.") for key in names.FAMILIES if key.startswith("bbox_head.")]
    if not any(f"rpn_head.{key}" in tensors for key in own):
        return dict(tensors), ALWAYS_LEFT_OUT
    renamed = {
        key.replace("rpn_head.", "bbox_head.", 1) if key.startswith("rpn_head.") else key: value
        for key, value in tensors.items()
    }
    return renamed, [*ALWAYS_LEFT_OUT, *names.ASSISTANTS]


def _find_family(tensors: Collection[str]) -> str:
    found = [family for key, family in names.FAMILIES.items() if key in tensors]
    if len(set(found)) != 1:
        if "bbox_head.fc_cls.weight" in tensors or "bbox_head.0.fc_cls.weight" in tensors:
            raise UserError(
                "was written by mmdetection 1.x; bring it to 2.x with mmdetection's upgrade_model_version.py"
            )
        if any(key.startswith("bbox_head.head_module.") for key in tensors):
            raise UserError(
                "has mmyolo's names, which cannot be imported; mmdetection's files of the same detectors can"
            )
        kinds = sorted({".".join(key.split(".")[:2]) for key in tensors if key.startswith(HEADS)})
        raise UserError(
            f"is a detector of mmdetection's that cannot be imported; its heads have {', '.join(kinds[:12])}"
        )
    if found[0] not in REALTIME and "neck.lateral_convs.0.conv.weight" not in tensors:
        raise UserError(f"is mmdetection's {found[0]} without a feature pyramid (FPN), which cannot be imported")
    return found[0]


def _check_project(tensors: Mapping[str, Tensor]) -> None:
    project = tensors.get("bbox_head.integral.project")
    if project is not None and not torch.equal(project.float().flatten(), torch.arange(float(project.numel()))):
        raise UserError("has other places in bbox_head.integral.project than 0, 1, 2 ...")


def _read_neck(
    tensors: Mapping[str, Tensor], family: str, config: Config, laterals: int, normed: bool, head: Options
) -> dict[str, object]:
    """The builder's options for the pyramid: its width, its norms, what its extra levels are computed from."""
    demand(config, "model.neck.type", "FPN")
    demand(config, "model.neck.norm_cfg.num_groups", 32)
    demand(config, "model.neck.act_cfg")
    demand(config, "model.neck.upsample_cfg.mode", "nearest")
    conv = "0.weight" if normed else "weight"
    width = shape_of(tensors, f"neck.lateral.0.{conv}", 4)[0]
    extras = count_layers(tensors, r"neck\.extra\.(\d+)\..+")
    if family in TWO_STAGE:
        if (laterals, extras) != (4, 0):
            raise UserError(f"has a pyramid of {laterals} + {extras} levels; expected P2 to P5, and P6 by subsampling")
        if not normed:
            return {"width": width}
        if family == "cascadercnn":
            raise UserError("has a cascade with norms in its pyramid, which cannot be imported")
        return {"width": width, "neck_norm": "batch" if "neck.lateral.0.1.running_mean" in tensors else "group"}
    if (laterals, extras) != (3, 2):
        raise UserError(
            f"has a pyramid of {laterals} + {extras} levels; expected P3 to P5, and P6 and P7 by convolution"
        )
    if normed != (family == "reppoints" and bool(head["norm"])):
        raise UserError("has norms in the pyramid or the head where the other has none, which cannot be imported")
    last = shape_of(tensors, f"neck.lateral.2.{conv}", 4)[1]
    read = shape_of(tensors, f"neck.extra.0.{conv}", 4)[1]
    said = look(config, "model.neck.add_extra_convs")
    if last == width and said not in ("on_input", "on_output", "on_lateral"):
        raise UserError("does not say what P6 is made of, C5 and P5 are equally wide: its configuration is needed")
    by_shape = "on_input" if read == last else "on_output"
    extra = said if said in ("on_lateral", "on_output", "on_input") and read == width else by_shape
    relu = look(config, "model.neck.relu_before_extra_convs", False) if look(config, "model.neck") else family == "fcos"
    return {"width": width, "extra": extra, "relu_extra": bool(relu)}


def find_classes(outputs: int, hints: Hints) -> tuple[tuple[str, ...], list[str]]:
    """The class names, and notes on them, a sentence each. Raises UserError if they are unknown or too many or few."""
    named: object = hints.classes
    if named is None:
        data = hints.meta.get("dataset_meta")
        data = data if isinstance(data, Mapping) else {}
        named = data.get("classes") or data.get("CLASSES") or hints.meta.get("CLASSES")
        named = (named,) if isinstance(named, str) else named
    if named is None and outputs == 80 and hints.name_has("coco"):
        return coco_classes(), ["its 80 classes are taken to be COCO's, as its name says"]
    names_found = [name for name in named if isinstance(name, str)] if isinstance(named, list | tuple) else []
    if not isinstance(named, list | tuple) or len(names_found) < len(named):
        raise UserError(
            f"does not say what its {outputs} classes are called: give --classes NAME,NAME,... in the order of the "
            "labels, a file with one name a line, or coco"
        )
    if len(names_found) != outputs:
        found = ", ".join(names_found[:12])
        raise UserError(f"has {outputs} outputs, but {len(names_found)} classes are named: {found}")
    return tuple(names_found), []
