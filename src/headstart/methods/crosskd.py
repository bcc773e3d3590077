"""CrossKD: the student's intermediate features through the teacher's frozen head (arXiv:2306.11369)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.protocol import as_dense
from headstart.methods.assistants import AssistantLosses, assistant_for, kind_of
from headstart.methods.criteria.predictions import BoxDistance, DensePredictions
from headstart.methods.criteria.regions import RegionPredictions
from headstart.methods.cross_head import CrossHead, TeacherOutputs
from headstart.methods.cross_regions import CrossAssistant, CrossRegions, TeacherRegions
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.methods.imitation import Imitation
from headstart.methods.step import Needs
from headstart.methods.weight import Schedule, Weight
from headstart.options import Amount, Count, Layers, Steps
from headstart.teachers.base import Teacher


@dataclass(frozen=True)
class Recipe:
    """What is published for a kind of teacher's head: where it is entered, the constants, how boxes are compared.

    remaining   how many blocks of the teacher's towers are still to be passed: 1 of 4 is the published tap 3
    confidence  whether the box term is divided by the teacher's summed confidence, else by the number of positives
    """

    remaining: int
    constants: dict[str, float]
    box: BoxDistance
    confidence: bool = False


RECIPES = {
    "gfl": Recipe(1, {"cls": 1.0, "box": 4.0}, "distribution", confidence=True),
    "atss": Recipe(1, {"cls": 1.0, "box": 1.0, "quality": 1.0}, "giou"),
    "retinanet": Recipe(1, {"cls": 1.0, "box": 1.0}, "giou"),
    "fcos": Recipe(2, {"cls": 0.4, "box": 0.75}, "iou_log"),
    "yolox": Recipe(1, {"cls": 1.0, "box": 1.0, "quality": 1.0}, "giou"),
}
"""By the kind of the teacher's head, from the released configurations; YOLOX, which they do not have, is ours."""

OTHER = Recipe(1, {"cls": 1.0, "box": 1.0}, "giou")
"""For heads that the paper does not have."""

REGIONS = 128
"""Per image, from the proposals of a dense student."""

TWO_STAGE = {"cls": 0.5, "box": 1.0}
"""The constants for two-stage teachers, from the branch of the released code that has them."""


@dataclass(frozen=True)
class CrossKDOptions:
    """What `crosskd` can be told.

    tap         how many blocks of its own towers the student's features have passed before they enter the teacher's
                head after as many; 0: the pyramid. With a two-stage teacher, how many fully connected layers. None: as
                published for the teacher's kind of head, and 0 where the student has no such layers
    activation  "after": features are read after their activation, as the released code does; "before", as its text says
    statistics  give the student's features the mean and deviation of the teacher's, channel by channel
    region      "released": the class term leaves out what the student's assigner ignores, the box term is weighted by
                the teacher's confidence. "uniform": every place counts alike, as the paper writes it
    through     with a two-stage teacher: "student", the student's own features; "assistant", those of an assistant, a
                box head of the teacher's kind on the student's pyramid (as HEAD's)
    weights     "paper": the released constants. "auto": ours, shared out where several methods guide a student
    cls_weight, box_weight   replace the constants of the class and the box terms
    warmup      steps over which the terms grow from 0
    regions     regions per image that are compared with a two-stage teacher; None: 128, or all that a two-stage student
                samples for itself
    """

    tap: Layers | None = None
    activation: Literal["after", "before"] = "after"
    statistics: bool = True
    region: Literal["released", "uniform"] = "released"
    through: Literal["student", "assistant"] = "student"
    weights: Literal["auto", "paper"] = "auto"
    cls_weight: Amount | None = None
    box_weight: Amount | None = None
    warmup: Steps = 0
    regions: Count | None = None


def crosskd(student: Detector, teachers: Sequence[Teacher], options: CrossKDOptions) -> list[Guidance]:
    """The student's intermediate features, through the teacher's frozen head, are to give the teacher's predictions.

    So the student's own predictions learn from the ground truth alone, and what it and the teacher disagree about does
    not meet in one layer. Any teacher and any student: priors, box code and losses are the teacher's; what is compared
    is in the teacher's classes, of them those that the student's data has. Several teachers have their terms each.

    Checked against the official code: tests/parity, crosskd_*.
    """
    demand_teacher("crosskd", teachers)
    demand_known_head("crosskd", student, "use method head with ckd=False, pkd or cwd")
    _check_read(teachers, options)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("crosskd", teachers), teachers):
        make = _dense if teacher.model.head.predicts_at == "cells" else _regions
        found += make(name, student, teacher, options)
    return found


def _dense(name: str, student: Detector, teacher: Teacher, options: CrossKDOptions) -> list[Guidance]:
    """From a dense teacher."""
    head = as_dense(teacher.model.head)
    recipe = RECIPES.get(kind_of(head), OTHER)
    source = CrossHead(
        student,
        teacher,
        _tap(student, teacher, options.tap, recipe.remaining),
        activated=options.activation == "after",
        statistics=options.statistics,
    )
    criterion = DensePredictions(
        head,
        student.head,
        teacher.match(student.classes),
        with_constants(recipe.constants, options.cls_weight, options.box_weight),
        recipe.box,
        confidence=recipe.confidence,
        region=options.region,
    )
    target = TeacherOutputs(teacher, len(source.factors))
    return [Imitation(name, source, target, criterion=criterion, weight=_weight(options))]


def _regions(name: str, student: Detector, teacher: Teacher, options: CrossKDOptions) -> list[Guidance]:
    """From a two-stage teacher: its (first) box head."""
    needs = Needs(regions=options.regions or student.head.regions_per_image or REGIONS)
    box_head = teacher.model.head.box_heads[0]
    classes = teacher.match(student.classes)
    criterion = RegionPredictions(box_head, classes, with_constants(TWO_STAGE, options.cls_weight, options.box_weight))
    found: list[Guidance] = []
    source: CrossRegions | CrossAssistant
    if options.through == "assistant":
        assistant = assistant_for(teacher, student)
        fresh = assistant.init_from_teacher(teacher, classes)
        found.append(AssistantLosses(f"assistant/{name}", assistant, Weight(1.0), needs, fresh))
        start = _assistant_tap(options.tap, len(box_head.layers))
        source = CrossAssistant(f"assistant/{name}", assistant, teacher, start, needs)
    else:
        start = _tap(student, teacher, options.tap, None)
        source = CrossRegions(student, teacher, start, needs)
    target = TeacherRegions(teacher, needs)
    return [*found, Imitation(name, source, target, criterion=criterion, weight=_weight(options))]


def _check_read(teachers: Sequence[Teacher], options: CrossKDOptions) -> None:
    """Raises UserError for an option that none of the teachers reads."""
    kinds = {teacher.model.head.predicts_at for teacher in teachers}
    dense = {
        "activation": options.activation != "after",
        "statistics": not options.statistics,
        "region": options.region != "released",
    }
    two_stage = {"through": options.through != "student", "regions": options.regions is not None}
    for kind, chosen in (("cells", dense), ("regions", two_stage)):
        unread = [name for name, given in chosen.items() if given and kind not in kinds]
        if unread:
            whose = "a dense teacher" if kind == "cells" else "a two-stage teacher"
            raise UserError(f"method crosskd: {unread[0]} is for {whose}, and there is none; leave it out")


def _assistant_tap(given: int | None, layers: int) -> int:
    """After how many of an assistant's layers the teacher's head is entered. Raises UserError for a place outside."""
    if given is not None and not 1 <= given <= layers:
        raise UserError(f"method crosskd: through an assistant tap must be from 1 to {layers}, not {given}")
    return given or 1


def _tap(student: Detector, teacher: Teacher, given: int | None, remaining: int | None) -> int:
    """Where the teacher's head is entered: as given; else so that `remaining` blocks are left (None: at the pyramid).

    Raises UserError for a place that one of the two does not have.
    """
    own, theirs = student.head, teacher.model.head
    alike = own.predicts_at == theirs.predicts_at
    most = 0
    if alike:
        most = theirs.tower_shape[1] if theirs.tower_shape else len(own.box_heads[0].layers)
    if given is None:
        return 0 if remaining is None else max(0, most - remaining)
    if given > most:
        kind = "blocks" if theirs.predicts_at == "cells" else "layers"
        why = f"the teacher's head has {most} {kind}" if alike else "its head is of another kind than the teacher's"
        raise UserError(f"method crosskd: tap {given} is not to be had of this student: {why}; use tap {most} or less")
    return given


def with_constants(published: Mapping[str, float], cls: float | None, box: float | None) -> dict[str, float]:
    """The published constants, those of `cls` and `box` replaced where a number is given."""
    given = {name: value for name, value in (("cls", cls), ("box", box)) if value is not None}
    return {**published, **given}


def _weight(options: CrossKDOptions) -> Weight:
    return Weight(1.0, Schedule(options.warmup), auto=options.weights == "auto")
