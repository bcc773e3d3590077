"""Every kind of assistant: one that follows a teacher's head, or one that grows up without a teacher."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from headstart.detectors.detector import Detector
from headstart.detectors.parts import use_current_names
from headstart.detectors.zoo import OPTION_ALIASES
from headstart.errors import UserError, demand_known
from headstart.heads.atss import ATSSHead
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.assistants.assistant import Assistant
from headstart.methods.assistants.maps import DenseAssistant
from headstart.methods.assistants.regions import CascadeAssistant, RCNNAssistant

KINDS: dict[str, type[nn.Module]] = {
    "rcnn": BoxHead,
    "cascade": CascadeRoIHead,
    "retinanet": RetinaHead,
    "fcos": FCOSHead,
    "atss": ATSSHead,
    "gfl": GFLHead,
    "reppoints": RepPointsHead,
}
"""The heads that can be an assistant, by the name that terms and the option `assistants` have for them."""

IMPROVED = {
    "normalised": True,
    "centre_sampling": True,
    "centreness_on_box": True,
    "box_loss": "giou",
    "conv_bias": True,
}
"""FCOS as HEAD's authors use it for an assistant without a teacher."""

DECIDED = ("class_agnostic", "stds", "beta")
"""What a cascade says of its box heads itself."""

FINEST = 8
"""Stride of a dense assistant's finest level, if the student's is finer."""


def follow(guide: Detector, student: Detector) -> Assistant:
    """An assistant of the make of a teacher's head, for the student's pyramid and classes; its weights are random."""
    head = guide.head
    channels, strides, classes = student.neck.width, student.neck.strides, len(student.classes)
    if isinstance(head, DenseHead):
        return _dense(head.rebuild(channels, head.strides, classes), student, kind_of(head))
    return _reading(head.roi.rebuild(channels, strides, classes))


def raise_free(kind: str, student: Detector, options: Mapping[str, Any]) -> Assistant:
    """An assistant of a kind without a teacher: as wide and deep as the student's own head unless `options` say
    otherwise, which are those of the head's constructor.

    Raises UserError for an unknown kind or option, and for the student's own kind.
    """
    demand_known(kind, KINDS, "method head: no assistant is called")
    if kind == kind_of(student.head):
        raise UserError(
            f"method head: an assistant of kind {kind} is what the student has itself; choose other kinds, or auto"
        )
    width, depth = student.neck.width, 4
    if isinstance(student.head, DenseHead):
        width, depth = student.head.width, len(student.head.cls_tower)
    strides = student.neck.strides
    classes = len(student.classes)
    if issubclass(KINDS[kind], DenseHead):
        part = max(1, FINEST // strides[0])
        given = {"width": width, "depth": depth, **(IMPROVED if kind == "fcos" else {})}
        head = _build(kind, options, given, classes, student.neck.width, [stride * part for stride in strides])
        return _dense(head, student, kind)
    return _reading(_build(kind, options, {"hidden": 4 * width}, classes, student.neck.width, strides))


def suited(student: Detector) -> list[str]:
    """The kinds that HEAD's authors let guide such a student without a teacher."""
    if isinstance(student.head, RPNBasedHead):
        return ["retinanet", "fcos"]
    return ["retinanet", "rcnn"] if isinstance(student.head, FCOSHead) else ["fcos", "rcnn"]


def kind_of(head: nn.Module) -> str:
    """The kind of a detector's head; a head of somebody's own is called by its class."""
    inner = head.roi if isinstance(head, RPNBasedHead) else head
    kinds = {made: kind for kind, made in KINDS.items()}
    return kinds.get(type(inner), type(inner).__name__.removesuffix("Head").lower())


def _build(kind: str, options: Mapping[str, Any], given: dict[str, Any], *place: Any) -> Any:
    known = _parameters(KINDS[kind])
    if kind == "cascade":
        known += [name for name in _parameters(BoxHead) if name not in DECIDED]
    options = use_current_names(options, OPTION_ALIASES, f"method head: assistant {kind}")
    for option in options:
        demand_known(option, known, f"method head: assistant {kind} has no option")
    return KINDS[kind](*place, **{**given, **options})


def _parameters(kind: type[nn.Module]) -> list[str]:
    found = inspect.signature(kind).parameters.values()
    return [p.name for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY]


def _dense(head: DenseHead, student: Detector, kind: str) -> DenseAssistant:
    return DenseAssistant(kind, head, student.neck.strides)


def _reading(head: BoxHead | CascadeRoIHead) -> Assistant:
    return CascadeAssistant(head) if isinstance(head, CascadeRoIHead) else RCNNAssistant(head)
