"""HEAD's options, what they come to, and what cannot be: kept apart from what happens in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.detector import Detector
from headstart.errors import UserError, demand_known
from headstart.methods.assistants import KINDS, Assistant, default_assistants, kind_of
from headstart.methods.weight import Schedule
from headstart.options import Amount, Count, Steps
from headstart.teachers.base import Teacher

Kinds = str | Mapping[str, object] | Sequence[str] | None
"""The option `assistants`."""

AUTO = {"akd": 1.0, "ckd": 0.5}
"""Of all AKD layers together and of CKD, in units of their targets' variance, shared out among the assistants."""

REGIONS = {"auto": 128, "paper": 512}
"""Per image, by `weights`: a quarter of the published number brings as much (docs/methods/head-measurements.md)."""

PAPER_AKD = {"rcnn": 2.0}
"""The authors' constant of each AKD layer on the plain squared error, by the assistant's kind; 1.0 for the others."""


@dataclass(frozen=True)
class HeadOptions:
    """What `head` can be told.

    akd, ckd          switches; both off leaves the assistants with ground truth only ("assist")
    assistants        further assistants that no teacher guides: kinds (rcnn, cascade, retinanet, fcos, atss, gfl,
                      reppoints, rtmdet, yolox), or "auto" for the paper's; as a mapping, kind -> options of its
                      head and `weight`, the factor of its losses
    weights           "auto": each squared error in units of its target's variance (`TargetVariance`), 1 for all AKD
                      layers of an assistant together and 0.5 for its CKD, shared out among the assistants;
                      "paper": the published constants on the plain squared error
    akd_weight, ckd_weight   replace the constant of each AKD layer and of each CKD term
    adapter           CKD's layer where a region is traced to an anchor: "linear", or "per_anchor" (one per shape)
    warmup            steps over which AKD and CKD grow from 0; None: 2000, but at most a tenth of the run
    assistant_warmup  the same for the assistants' own ground-truth losses; None: as `warmup` without a teacher, 0 with
                      one, as in the released code
    ckd_stop          the last step that CKD takes part in; None: no end; "auto": with a teacher no end, without one
                      where the learning rate first drops
    transfer          start an assistant from its teacher's head where shapes agree
    regions           regions per image that assistants and teachers read, at most a quarter of them objects; None: 128,
                      with `weights: paper` 512, or all that a two-stage student samples for itself
    """

    akd: bool = True
    ckd: bool = True
    assistants: Kinds = None
    weights: Literal["auto", "paper"] = "auto"
    akd_weight: Amount | None = None
    ckd_weight: Amount | None = None
    adapter: Literal["linear", "per_anchor"] = "linear"
    warmup: Steps | None = None
    assistant_warmup: Steps | None = None
    ckd_stop: Steps | Literal["auto"] | None = "auto"
    transfer: bool = True
    regions: Count | None = None

    def akd_schedule(self) -> Schedule:
        return Schedule(self.warmup)

    def ckd_schedule(self, *, taught: bool) -> Schedule:
        """`taught`: whether a teacher guides the student; else an assistant that learns without one does."""
        if self.ckd_stop == "auto":
            return Schedule(self.warmup, None if taught else "first_drop")
        return Schedule(self.warmup, self.ckd_stop)

    def assistant_schedule(self, *, taught: bool) -> Schedule:
        if self.assistant_warmup is not None:
            return Schedule(self.assistant_warmup)
        return Schedule(0 if taught else self.warmup)

    def regions_for(self, student: Detector) -> int:
        """How many regions per image are read, where somebody reads them."""
        own = student.head.regions_per_image
        return self.regions or own or REGIONS[self.weights]


def parse_assistants(assistants: Kinds, student: Detector) -> dict[str, Mapping[str, object]]:
    """The option `assistants` as kind -> options. Raises UserError for an unknown kind, or one named twice."""
    if assistants is None:
        return {}
    if assistants == "auto":
        return {kind: {} for kind in default_assistants(student)}
    if isinstance(assistants, str):
        assistants = [kind.strip() for kind in assistants.split(",")]
    given = assistants if isinstance(assistants, Mapping) else dict.fromkeys(assistants)
    if len(given) < len(assistants):
        twice = next(kind for kind in given if [*assistants].count(kind) > 1)
        raise UserError(f"method head: assistant {twice} is named twice; there is one of each kind")
    chosen: dict[str, Mapping[str, object]] = {}
    for kind, options in given.items():
        demand_known(str(kind), KINDS, "method head: no assistant is called")
        if options is not None and not isinstance(options, Mapping):
            raise UserError(f"method head: assistant {kind}: its options must be a mapping, not '{options}'")
        chosen[kind] = options or {}
    return chosen


def check_heads(student: Detector, teachers: Sequence[Teacher]) -> None:
    """Raises UserError unless every head predicts at cells or at regions, so that places can be compared."""
    for who, detector in (("student", student), *((teacher.title, teacher.model) for teacher in teachers)):
        if getattr(detector.head, "predicts_at", None) not in ("cells", "regions"):
            found = type(detector.head).__name__
            raise UserError(f"method head needs a {who} with a dense or a two-stage head; this one has a {found}")


def check_someone_teaches(teachers: Sequence[Teacher], standalone: Mapping[str, object]) -> None:
    """Raises UserError unless there is a teacher, or an assistant that learns without one."""
    if not teachers and not standalone:
        raise UserError(
            "method head needs a teacher: give --teacher FILE, weights of a detector trained on such objects, or let "
            "it do without one by --assistants auto (TF-HEAD)"
        )


def check_regions(student: Detector, regions: int | None, *, read: bool) -> None:
    """Raises UserError for a number of regions that would do nothing."""
    if regions is None:
        return
    if not read:
        raise UserError(
            f"method head: regions is {regions}, but neither the assistants nor CKD read regions here; leave it out"
        )
    own = student.head.regions_per_image
    if own and regions > own:
        raise UserError(
            f"method head: regions is {regions}, but the student samples {own} regions per image and no more can be "
            f"read; give fewer, or more by student.options.regions={regions}"
        )


def paper_ckd(student: Detector, assistant: Assistant, *, taught: bool) -> float:
    """The authors' constant of each CKD term on the plain squared error; 1.0 where they had no such pair."""
    if assistant.predicts_at == "cells":
        return 1.0
    if not taught:
        return 1.3
    return 1.0 if kind_of(student.head) == "fcos" else 2.0
