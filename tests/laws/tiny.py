"""The smallest detectors, scenes and pairs that the laws are tested on, and who is listed under which law.

A detector is covered by standing in `FAMILIES`, a method by standing in `METHODS` and here in `PAIRS`.
"""

from __future__ import annotations

import copy
import functools
import os
import random
from collections.abc import Hashable, Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.detectors.zoo import FAMILIES, build_detector
from headstart.heads.cells import CellHead
from headstart.heads.deformable import DeformableConv
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.points import LevelHead
from headstart.heads.roi import BoxHead
from headstart.methods import Frozen, Method, build_method
from headstart.methods.assistants import kind_of
from headstart.structures import DenseOutputs, ImageBatch, Progress, Targets

CLASSES = ("circle", "square", "star")
MIDWAY = Progress(step=500, total=1000)
SMALL = {"width": 16, "hidden": 24, "depth": 2}

VARIANTS: list[tuple[str, dict]] = [
    *((family, {}) for family in FAMILIES),
    ("fcos", {"improved": True}),
    ("fasterrcnn", {"box_head": "4conv1fc", "rpn_depth": 2}),
    ("retinanet", {"convention": "torchvision", "norm": True}),
    ("fcos", {"convention": "torchvision", "improved": True}),
    ("fasterrcnn", {"convention": "torchvision"}),
    ("rtmdet", {"exponential": False}),
    ("yolox", {"depthwise": True, "assigner": "mmdetection"}),
]
"""Every family as it is by default, and the options that change what its head computes."""

DENSE = ["retinanet", "fcos", "atss", "gfl", "reppoints", "rtmdet", "yolox"]
REFINING = ["reppoints", "rtmdet", "yolox"]
"""Those of `DENSE` that assign by what they predict themselves: rounding changes who answers for what."""
TWO_STAGE = ["fasterrcnn", "cascadercnn"]
PAIRS: dict[str, dict[str | None, list[str]]] = {
    "baseline": {teacher: list(FAMILIES) for teacher in (None, *FAMILIES)},
    "head": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "crosskd": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "mimic": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "pkd": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "cwd": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "fitnet": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "frs": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "fgd": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "mgd": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "defeat": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "fgfi": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "ld": {"gfl": ["gfl"]},
    "bckd": dict.fromkeys(DENSE, DENSE),
    "gid": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "sgfi": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "allstage": {teacher: list(FAMILIES) for teacher in FAMILIES},
    "pseudo": {teacher: list(FAMILIES) for teacher in FAMILIES},
}
"""Method -> teacher -> the students it serves with no option given; every other combination is to be refused."""

RELABELLING = ["pseudo"]
"""Methods that change what is to be found, and have no term of their own."""

ALONE: dict[str, dict] = {"head": {"assistants": "auto"}}
"""The options by which a method that refuses to go without a teacher serves every student all the same."""

Case = tuple[str, dict, str | None, str]
"""Method, the options that change its terms and modules, teacher, student.

Teachers are families, `FAMILY of other classes`, or several of them joined by ` + `.
"""

FEATURES = ("fitnet", "frs", "fgd", "mgd", "defeat", "fgfi")
SAMPLED = {"head": 27, "crosskd": 27, "mimic": 12, "pkd": 8, "cwd": 8, **dict.fromkeys(FEATURES, 3)}
SAMPLED |= {"ld": 1, "bckd": 6, "gid": 10, "sgfi": 6}
SAMPLED |= {"allstage": 10}
SAMPLED |= {"pseudo": 6}
"""How many of its pairs the laws run over; that every pair can be built is tested for all."""

CHOICE = os.environ.get("HEADSTART_PAIRS", "0")
"""`all` for every pair, which takes minutes more; a number draws another sample."""


def served(name: str) -> list[Case]:
    """A method's pairs without options, or a sample of them."""
    pairs = PAIRS[name]
    found: list[Case] = [(name, {}, teacher, student) for teacher in pairs for student in pairs[teacher]]
    if None in pairs:
        return [case for case in found if case[2] is None]
    return found if CHOICE == "all" else random.Random(int(CHOICE)).sample(found, SAMPLED[name])


SERVED: list[Case] = [
    *(case for name in PAIRS for case in served(name)),
    *((name, options, None, student) for name, options in ALONE.items() for student in FAMILIES),
]
"""Pairs, generated, and every student of a method that can do without a teacher."""

OPTIONS: list[Case] = [
    *(
        ("head", {"weights": "paper", "adapter": adapter}, teacher, student)
        for teacher, student, adapter in [
            ("fasterrcnn", "retinanet", "per_anchor"),
            ("cascadercnn", "fcos", "linear"),
            ("gfl", "fasterrcnn", "per_anchor"),
            ("fasterrcnn", "cascadercnn", "linear"),
            ("reppoints", "atss", "linear"),
        ]
    ),
    *(("head", {"weights": "paper", "assistants": "auto"}, None, student) for student in ("fcos", "fasterrcnn")),
    ("head", {"akd": False, "ckd": False, "transfer": False}, "fasterrcnn", "fcos"),
    ("head", {"akd": False, "ckd": False, "assistants": "auto"}, None, "gfl"),
    ("head", {"assistants": ["cascade", "fcos", "atss", "gfl", "reppoints"]}, None, "retinanet"),
    ("head", {"assistants": ["cascade", "atss", "gfl", "reppoints"]}, None, "fasterrcnn"),
    ("head", {"regions": 8}, "cascadercnn", "fasterrcnn"),
    ("head", {"regions": 8}, "fcos", "cascadercnn"),
    ("head", {"assistants": ["fcos"]}, "fasterrcnn", "atss"),
    ("head", {"assistants": "auto"}, "gfl", "cascadercnn"),
    ("head", {}, "fasterrcnn + reppoints", "retinanet"),
    ("head", {}, "retinanet + retinanet of other classes + cascadercnn", "fasterrcnn"),
    ("head", {}, "fasterrcnn of other classes", "retinanet"),
    ("head", {}, "cascadercnn of other classes", "fasterrcnn"),
    ("head", {}, "atss of other classes", "gfl"),
    ("head", {}, "yolox of other classes", "rtmdet"),
    ("head", {"assistants": ["rtmdet", "yolox"]}, "fasterrcnn", "gfl"),
    ("crosskd", {"through": "assistant"}, "fasterrcnn", "retinanet"),
    ("crosskd", {"through": "assistant", "regions": 8}, "cascadercnn", "gfl"),
    ("crosskd", {"tap": 0, "activation": "before", "region": "uniform"}, "gfl", "gfl"),
    ("crosskd", {"tap": 1}, "fasterrcnn", "cascadercnn"),
    ("crosskd", {"activation": "before", "statistics": False}, "yolox of other classes", "rtmdet"),
    ("crosskd", {}, "gfl of other classes", "retinanet"),
    ("crosskd", {}, "fasterrcnn of other classes", "fcos"),
    ("crosskd", {}, "gfl + fasterrcnn", "atss"),
    ("mimic", {}, "gfl of other classes", "retinanet"),
    ("mimic", {}, "fasterrcnn of other classes", "retinanet"),
    ("mimic", {}, "yolox of other classes", "cascadercnn"),
    ("crosskd+pkd", {}, "gfl", "gfl"),
    ("cwd", {"normalise": False}, "gfl", "fcos"),
    ("pkd", {"resize": "teacher"}, "fasterrcnn", "gfl"),
    ("fitnet", {"inherit": "both", "weights": "paper"}, "cascadercnn of other classes", "cascadercnn"),
    ("frs", {}, "yolox", "yolox"),
    ("frs", {}, "fasterrcnn of other classes", "fasterrcnn"),
    ("fgd", {"inherit": "head"}, "rtmdet", "rtmdet"),
    ("mgd", {"masked": 0}, "gfl + fasterrcnn", "retinanet"),
    ("defeat", {"regions": 8}, "cascadercnn of other classes", "fasterrcnn"),
    ("fgfi", {"levels": "scale"}, "reppoints", "fasterrcnn"),
    ("frs+fgd", {}, "fasterrcnn", "yolox"),
    ("ld", {"cls": True, "weights": "paper"}, "gfl of other classes", "gfl"),
    ("bckd", {"region": "positives"}, "yolox of other classes", "fcos"),
    ("gid", {"weights": "paper"}, "gfl of other classes", "gfl"),
    ("gid", {"instances": 3}, "yolox", "yolox"),
    ("sgfi", {"contrast": True}, "fasterrcnn", "retinanet"),
    ("sgfi", {"contrast": True, "weights": "paper"}, "gfl", "cascadercnn"),
    ("sgfi", {"contrast": True}, "yolox", "fcos"),
    ("head+sgfi", {"sgfi": {"regions": 16}}, "fasterrcnn", "retinanet"),
    ("allstage", {"boxes": "independent", "location": "objects"}, "fasterrcnn of other classes", "retinanet"),
    (
        "allstage",
        {"macro": "controlled", "measure": "ssim", "relation": 0.5},
        "cascadercnn of other classes",
        "fasterrcnn",
    ),
    ("allstage", {"macro": "fixed", "measure": "channel_kl", "boxes": "student"}, "gfl of other classes", "yolox"),
    ("allstage", {"through": "soft", "boxes": "student", "location": "split", "regions": 16}, "gfl", "retinanet"),
    ("allstage", {"through": "assistant", "boxes": "student", "measure": "cosine"}, "cascadercnn", "gfl"),
    ("allstage", {"macro": "uncertainty", "measure": "smooth_l1", "per_level": True}, "fasterrcnn + gfl", "fcos"),
    ("head+allstage", {"head": {"regions": 8}}, "fasterrcnn", "retinanet"),
    ("pseudo", {"threshold": 0.3, "targets": "replace", "soft": True}, "fasterrcnn of other classes", "yolox"),
    ("head+pseudo", {"pseudo": {"threshold": 0.3}, "head": {"regions": 8}}, "fasterrcnn", "cascadercnn"),
    ("head+crosskd", {"head": {"regions": 8}}, "fasterrcnn", "retinanet"),
    ("head+mimic+pkd", {"mimic": {"warmup": 10}}, "atss", "fcos"),
]
"""The options, several teachers, and teachers with other classes: each kind of link and assistant among them."""

CASES = SERVED + OPTIONS
"""Everything that the laws of methods run over."""

OTHER_CLASSES = ("Star", "disc", "bus", "circle")
OTHER_NAMES = {"disc": "circle"}
"""Of a teacher with another spelling, order and number of classes: two are merged, one is left out, one is missing."""


def label(value: object) -> str:
    """A readable test id for the entries of the lists above."""
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items()) or "default"
    return str(value)


def detector(
    family: str, seed: int = 0, *, classes: Sequence[str] = CLASSES, backbone: str = "test_efficientnet", **options
) -> Detector:
    """A detector from scratch whose predictions are as varied as a trained one's."""
    known = [field.name for field in fields(FAMILIES[family].options)]
    small = {key: value for key, value in SMALL.items() if key in known}
    built, state = _build(family, seed, tuple(classes), backbone, **(small | options))
    torch.set_rng_state(state)
    return copy.deepcopy(built)


@functools.cache
def _build(
    family: str, seed: int, classes: tuple[str, ...], backbone: str, **options: Hashable
) -> tuple[Detector, Tensor]:
    """The detector and the state of the generator after it: a copy is cheaper than a second one."""
    torch.manual_seed(seed)
    built = stir(build_detector(family, classes, backbone=backbone, pretrained=False, **options))
    return built, torch.get_rng_state()


def stir(built: Detector) -> Detector:
    """Redraws the head's layers, wide enough that scores lie all over 0..1."""
    for layer in built.head.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | DeformableConv):
            nn.init.normal_(layer.weight, std=1.4 / layer.weight[0].numel() ** 0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.3)
    for head in built.head.modules():
        if isinstance(head, FCOSHead) and not head.normalised:
            head.reg.bias.data += 2.5  # exp of it: distances of some 12 pixels instead of one
        if isinstance(head, GFLHead):
            head.reg.bias.data -= torch.arange(head.reg_max + 1).repeat(4) * 0.5  # some 2 strides instead of 8
        if isinstance(head, LevelHead):  # boxes some 4 strides wide
            for layer in head.reg:
                layer.bias.data += {"yolox": torch.tensor([0.0, 0, 1.4, 1.4])}.get(kind_of(head), 0.7)
    return built


def scene(seed: int = 0, *, objects: int = 3, size: int = 96) -> tuple[ImageBatch, list[Targets]]:
    """Two images of different shapes in one padded batch, with boxes inside their valid areas."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(size, size - 20), (size - 32, size)]
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)
    for image, (height, width) in enumerate(sizes):
        pixels[image, :, height:] = 0
        pixels[image, :, :, width:] = 0
    targets = []
    for height, width in sizes:
        side = size * (0.2 + 0.25 * torch.rand(objects, 2, generator=generator))
        corner = torch.rand(objects, 2, generator=generator) * (torch.tensor([width, height]) - side)
        labels = torch.randint(0, len(CLASSES), (objects,), generator=generator)
        boxes = torch.cat([corner, corner + side], dim=1)
        targets.append(Targets(boxes, labels, torch.zeros(objects, dtype=torch.bool)))
    return ImageBatch(pixels, sizes, [7, 8], sizes), targets


def cell_heads(built: Detector) -> list[CellHead]:
    """Every head inside that predicts at cells: the detector's own, or the one that proposes."""
    return [module for module in built.head.modules() if isinstance(module, CellHead)]


def box_heads(built: Detector) -> list[BoxHead]:
    """The box heads of a two-stage detector, in the order in which they read."""
    return [module for module in built.head.modules() if isinstance(module, BoxHead)]


def at_cells(maps: list[Tensor], width: int, image: int, cells) -> Tensor:
    """What maps (B, A*width, H, W) say at the cells of one image's boxes: (N, width), read one by one."""
    rows = []
    for level, y, x, anchor in zip(*(getattr(cells, key).tolist() for key in ("level", "y", "x", "anchor"))):
        rows.append(maps[level][image, anchor * width : (anchor + 1) * width, y, x])
    return torch.stack(rows).detach()


def make_method(method: str, options: dict, teacher: str | None, student: str, seed: int = 0) -> Method:
    """A method for a small pair, in training mode."""
    names = [] if teacher is None else teacher.split(" + ")
    teachers = [teach(name, seed + 100 * number) for number, name in enumerate(names, start=1)]
    return build_method(method, detector(student, seed), teachers, **options).train()


def teach(teacher: str, seed: int = 100) -> Frozen:
    """A frozen teacher by its name in `CASES`."""
    family, other, _ = teacher.partition(" of other classes")
    classes = OTHER_CLASSES if other else CLASSES
    return Frozen(detector(family, seed, classes=classes), OTHER_NAMES if other else None)


def run(method: Method, batch: ImageBatch, targets: list[Targets], progress: Progress = MIDWAY, seed: int = 5):
    """The objective of one step; whatever is drawn at random in it is drawn from `seed`."""
    torch.manual_seed(seed)
    return method(batch, targets, progress)


def losses(built: Detector, batch: ImageBatch, targets: list[Targets], seed: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return built.loss(built(batch, targets), targets)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def every_map(outputs: DenseOutputs) -> dict[str, Tensor]:
    """All tensors of dense outputs by name."""
    named = {"cls": outputs.cls, "reg": outputs.reg, "quality": outputs.quality or []}
    named |= {f"earlier{stage}": maps for stage, maps in enumerate(outputs.earlier)}
    named |= {f"inner_{name}": maps for name, maps in outputs.inner.items()}
    named |= {f"cls_trace{i}": maps for i, maps in enumerate(outputs.cls_trace)}
    named |= {f"reg_trace{i}": maps for i, maps in enumerate(outputs.reg_trace)}
    return {f"{name}/{level}": m.detach() for name, maps in named.items() for level, m in enumerate(maps)}
