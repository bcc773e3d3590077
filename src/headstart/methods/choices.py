"""What HEAD's options come to, and what cannot be: kept apart from what happens in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from headstart.detectors.detector import Detector
from headstart.errors import UserError, demand_known
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.assistants import KINDS, Assistant, suited
from headstart.methods.base import Frozen
from headstart.methods.ckd import Aligned, Link, LookedUp, Traced

HEADS: tuple[type[nn.Module], ...] = (DenseHead, RPNBasedHead)
"""What HEAD's students and teachers may have."""

Kinds = str | Sequence[str] | Mapping[str, Any] | None
"""The option `assistants`."""


def chosen_kinds(assistants: Kinds, student: Detector) -> dict[str, Mapping[str, Any]]:
    """The option `assistants` as kind -> options. Raises UserError for an unknown kind, or one named twice."""
    if assistants is None:
        return {}
    if assistants == "auto":
        return {kind: {} for kind in suited(student)}
    if isinstance(assistants, str):
        assistants = [kind.strip() for kind in assistants.split(",")]
    if not isinstance(assistants, Sequence | Mapping):
        raise UserError(f"method head: assistants must be kinds, auto or a mapping, not '{assistants}'")
    given = assistants if isinstance(assistants, Mapping) else dict.fromkeys(assistants)
    if len(given) < len(assistants):
        twice = next(kind for kind in given if [*assistants].count(kind) > 1)
        raise UserError(f"method head: assistant {twice} is named twice; there is one of each kind")
    chosen = {kind: {} if options is None else options for kind, options in given.items()}
    for kind, options in chosen.items():
        demand_known(str(kind), KINDS, "method head: no assistant is called")
        if not isinstance(options, Mapping):
            raise UserError(f"method head: assistant {kind}: its options must be a mapping, not '{options}'")
    return chosen


def check_pairs(student: Detector, teachers: list[Frozen], free: Mapping[str, Any]) -> None:
    """Raises UserError unless somebody guides the student and everybody has a head that HEAD knows."""
    if not teachers and not free:
        raise UserError(
            "method head needs a teacher: give --teacher FILE, weights of a detector trained on such objects, or let "
            "it do without one by --assistants auto (TF-HEAD)"
        )
    for model, who in [(student, "student"), *((teacher.model, "teacher") for teacher in teachers)]:
        if not isinstance(model.head, HEADS):
            kind = type(model.head).__name__
            raise UserError(f"method head needs a {who} with a dense or a two-stage head; this one has a {kind}")


def check_regions(student: Detector, regions: int | None, *, read: bool) -> None:
    """Raises UserError for a number of regions that is none, or that would do nothing."""
    if regions is None:
        return
    if not isinstance(regions, int) or regions < 1:
        raise UserError(f"method head: regions must be a whole number from 1 on, not '{regions}'")
    if not read:
        raise UserError(
            f"method head: regions is {regions}, but neither the assistants nor CKD read regions here; leave it out"
        )
    if isinstance(student.head, RPNBasedHead):
        roi = student.head.roi
        own = (roi.samplers[0] if isinstance(roi, CascadeRoIHead) else student.head.sampler).count
        if regions > own:
            raise UserError(
                f"method head: regions is {regions}, but the student samples {own} regions per image and no more can "
                f"be read; give fewer, or more by student.options.regions={regions}"
            )


def published(head: nn.Module, assistant: Assistant, link: Link | None, *, free: bool) -> tuple[float, float]:
    """The constants of each AKD layer and each CKD term on the plain squared error.

    Those of the authors' configurations; 1.0 where they had no such pair.
    """
    akd = 2.0 if assistant.kind == "rcnn" else 1.0
    if link is None or isinstance(link, Aligned | LookedUp):
        return akd, 1.0
    if free:
        return akd, 1.3
    return akd, 1.0 if isinstance(link, Traced) and isinstance(head, FCOSHead) else 2.0
