"""Every kind of assistant: one of a teacher's kind, or one that learns without a teacher."""

from __future__ import annotations

from collections.abc import Mapping

from headstart.detectors.detector import Detector
from headstart.errors import UserError, demand_known
from headstart.heads.atss import ATSSHead
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.protocol import Head, Predictor
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BoxHead
from headstart.heads.rtmdet import RTMDetHead
from headstart.heads.yolox import YOLOXHead
from headstart.methods.assistants.assistant import Assistant
from headstart.methods.assistants.dense import DenseAssistant
from headstart.methods.assistants.regions import CascadeAssistant, RCNNAssistant
from headstart.options import check_options
from headstart.teachers.base import Teacher

KINDS: dict[str, type[Predictor]] = {
    "rcnn": BoxHead,
    "cascade": CascadeRoIHead,
    "retinanet": RetinaHead,
    "fcos": FCOSHead,
    "atss": ATSSHead,
    "gfl": GFLHead,
    "reppoints": RepPointsHead,
    "rtmdet": RTMDetHead,
    "yolox": YOLOXHead,
}
"""The heads that can be an assistant, by the name that terms and the option `assistants` have for them."""

FINEST = 8
"""Stride of a dense assistant's finest level, if the student's is finer."""

DEPTH = 4
"""Blocks of a dense assistant's towers, where the student's own head has none to go by."""


def kind_of(head: Head) -> str:
    """The kind of a detector's head; a head of somebody's own is called by its class."""
    kinds = {made: kind for kind, made in KINDS.items()}
    own = type(head.predictor)
    return kinds.get(own, own.__name__.removesuffix("Head").lower())


def assistant_for(teacher: Teacher, student: Detector) -> Assistant:
    """An assistant of the kind of a teacher's head, for the student's pyramid and classes; its weights are random.

    Raises UserError where the strides of a dense teacher are no whole multiples of the student's.
    """
    head = teacher.model.head
    channels, strides = student.neck.width, student.neck.strides
    if head.predicts_at == "cells":
        strides = head.strides
    return _wrap(kind_of(head), head.predictor.rebuild(channels, strides, len(student.classes)), student)


def standalone_assistant(kind: str, student: Detector, options: Mapping[str, object]) -> Assistant:
    """An assistant of a kind without a teacher: as wide and deep as the student's own head unless `options` say
    otherwise, which are those of the head.

    Raises UserError for an unknown kind or option, and for the student's own kind.
    """
    demand_known(kind, KINDS, "method head: no assistant is called")
    if kind == kind_of(student.head):
        raise UserError(
            f"method head: an assistant of kind {kind} is what the student has itself; choose other kinds, or auto"
        )
    made, strides = KINDS[kind], student.neck.strides
    width, depth = student.head.tower_shape or (student.neck.width, DEPTH)
    given: dict[str, object] = {"hidden": 4 * width}
    if issubclass(made, DenseHead):
        part = max(1, FINEST // strides[0])
        strides = [stride * part for stride in strides]
        given = {"width": width, "depth": depth}
    if kind == "fcos":
        given["improved"] = True  # as HEAD's authors use it
    checked = check_options(made.Options, {**given, **options}, f"method head: assistant {kind}")
    return _wrap(kind, made(len(student.classes), student.neck.width, strides, checked), student)


def default_assistants(student: Detector) -> list[str]:
    """The kinds that HEAD's authors let guide such a student without a teacher."""
    if student.head.predicts_at == "regions":
        return ["retinanet", "fcos"]
    return ["retinanet", "rcnn"] if kind_of(student.head) == "fcos" else ["fcos", "rcnn"]


def _wrap(kind: str, head: Predictor, student: Detector) -> Assistant:
    if isinstance(head, BoxHead):
        return RCNNAssistant(head)
    if isinstance(head, CascadeRoIHead):
        return CascadeAssistant(head)
    return DenseAssistant(kind, head, student.neck.strides)
