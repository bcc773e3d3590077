"""A student that starts from its teacher's neck or head, where they are made alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.assistants.init_from_teacher import copy_agreed, init_box_head, init_dense_head
from headstart.methods.guidance import Guidance, Remark, Row
from headstart.teachers.base import Teacher

Inherit = Literal["none", "neck", "head", "both"]
"""What of the student starts from its (first) teacher's."""

SHOWN = 3


def inherit(method: str, student: Detector, teachers: Sequence[Teacher], parts: Inherit) -> list[Guidance]:
    """Copies the first teacher's neck or head into the student, tensor by tensor where shapes agree.

    Classes by their meaning, as assistants do (`init_from_teacher`). Gives a row of the pairing table for each part,
    with what did not come from the teacher. A continued run reads its weights afterwards, so it stays what it was.

    Raises UserError where a part is made in another way than the teacher's, so that nothing would fit.
    """
    teacher = teachers[0]
    found: list[Guidance] = []
    for part in ("neck", "head"):
        if parts in (part, "both"):
            fresh = _neck(method, student, teacher) if part == "neck" else _head(method, student, teacher)
            row = Row(f"{teacher.title} {part}", f"student {part}, its start", _told(fresh), "-")
            found.append(Remark(f"{method}/start {part}", row))
    return found


def _neck(method: str, student: Detector, teacher: Teacher) -> list[str]:
    own, theirs = student.neck, teacher.model.neck
    if type(own) is not type(theirs) or list(own.strides) != list(theirs.strides) or own.width != theirs.width:
        raise UserError(
            f"method {method} needs a neck like the teacher's to inherit it: the student has a {_neck_text(own)}, the "
            f"teacher a {_neck_text(theirs)}; use inherit=none"
        )
    return copy_agreed(own, theirs.state_dict())


def _neck_text(neck: nn.Module) -> str:
    return f"{type(neck).__name__} of {getattr(neck, 'width', '?')} channels at strides {getattr(neck, 'strides', '?')}"


def _head(method: str, student: Detector, teacher: Teacher) -> list[str]:
    own, theirs = student.head, teacher.model.head
    classes = teacher.match(student.classes)
    if isinstance(own, DenseHead) and isinstance(theirs, DenseHead):
        if _dense_kind(own) == _dense_kind(theirs):
            return init_dense_head(own, theirs, classes)
    elif isinstance(own, RPNBasedHead) and isinstance(theirs, RPNBasedHead) and _roi_kind(own) == _roi_kind(theirs):
        fresh = [f"rpn.{name}" for name in copy_agreed(own.rpn, theirs.rpn.state_dict())]
        for stage, (mine, other) in enumerate(zip(own.box_heads, theirs.box_heads, strict=True)):
            fresh += [f"box head {stage}: {name}" for name in init_box_head(mine, other, classes)]
        return fresh
    raise UserError(
        f"method {method} needs a head like the teacher's to inherit it, of one kind, width, strides and number of "
        f"anchors: the student has a {type(own).__name__}, the teacher a {type(theirs).__name__}; use inherit=none, or "
        "method head, whose assistants start from heads of every kind"
    )


def _dense_kind(head: DenseHead) -> tuple[object, ...]:
    return type(head), head.width, head.num_anchors, tuple(head.strides)


def _roi_kind(head: RPNBasedHead) -> tuple[object, ...]:
    boxes = [(box.hidden, box.grid, box.class_agnostic, box.layers) for box in head.box_heads]
    return type(head), head.num_anchors, tuple(head.strides), boxes


def _told(fresh: Sequence[str]) -> str:
    if not fresh:
        return "copied whole"
    more = f" and {len(fresh) - SHOWN} more" if len(fresh) > SHOWN else ""
    return f"copied but for {', '.join(fresh[:SHOWN])}{more}"
