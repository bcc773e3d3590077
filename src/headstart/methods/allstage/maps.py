"""The links between maps: of backbones, pyramids and towers."""

from __future__ import annotations

from headstart.detectors.detector import Detector
from headstart.detectors.taps import level_names, tap_width
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.allstage.cells import RPNTower
from headstart.methods.allstage.context import Context, LeftOutError
from headstart.methods.allstage.distances import MapDistance
from headstart.methods.allstage.micro import PlaceWeights, Scores
from headstart.methods.assistants import kind_of
from headstart.methods.imitation import Imitation
from headstart.methods.levels import LevelPairs
from headstart.methods.taps import StudentTap, Tap, TeacherTap
from headstart.methods.weight import Weight
from headstart.teachers.base import Teacher

AFFINE = ("pearson", "ssim")
"""Measures to which the size and offset of a channel do not count: a bias before them would never be trained."""

FINEST, COARSEST = 8, 32
"""Strides of the backbone's stages that are compared: C2 is large and says little."""


def link_backbones(pair: Context) -> list[Imitation]:
    """The stages C3 to C5 that both have, a link each, since their widths differ.

    Raises LeftOutError if there is none, and, unless the plan names the group, for detectors of different families:
    their backbones' maps have little in common and are large.
    """
    families = [kind_of(detector.head) for detector in (pair.teacher.model, pair.student)]
    if pair.plan.stages is None and families[0] != families[1]:
        raise LeftOutError(f"by default only between detectors of one family, not {families[0]} and {families[1]}")
    own, other = pair.student.backbone, pair.teacher.model.backbone
    strides = [stride for stride in own.strides if stride in other.strides and FINEST <= stride <= COARSEST]
    if not strides:
        raise LeftOutError(f"no stage of stride 8 to 32 in common: {list(own.strides)} and {list(other.strides)}")
    made = []
    for stride, stage in zip(strides, level_names("C", strides)):
        place = f"backbone/{stage}"
        alone = LevelPairs((0,), (0,), (stride,), (stride,), pair.plan.resize)
        widths = tap_width(pair.student, place), tap_width(pair.teacher.model, place)
        made.append(_link(pair, place, StudentTap(place), TeacherTap(pair.teacher, place), alone, widths))
    return made


def link_necks(pair: Context) -> list[Imitation]:
    """The pyramids."""
    widths = pair.student.neck.width, pair.teacher.model.neck.width
    return [_link(pair, "neck", StudentTap("neck"), TeacherTap(pair.teacher, "neck"), pair.pairs, widths)]


def link_towers(pair: Context, side: str) -> list[Imitation]:
    """The last blocks of two towers, `cls_tower` or `reg_tower`; of a two-stage detector the RPN's, which has one."""
    pair.demand_known_heads()
    for who, detector in (("student", pair.student), ("teacher", pair.teacher.model)):
        head = detector.head
        if isinstance(head, RPNBasedHead) and side == "reg_tower":
            raise LeftOutError(f"the {who}'s RPN has one tower, which is that of dense_cls")
        if list(head.strides) != list(detector.neck.strides)[: len(head.strides)]:
            raise LeftOutError(f"the {who}'s head does not read the levels of its pyramid in order")
    source, own = _tower(pair.student, None, side)
    target, other = _tower(pair.teacher.model, pair.teacher, side)
    return [_link(pair, side, source, target, pair.pairs, (own, other))]


def _tower(detector: Detector, teacher: Teacher | None, side: str) -> tuple[Tap, int]:
    """The place and its width."""
    head = detector.head
    if isinstance(head, RPNBasedHead):
        return RPNTower(head.rpn, teacher), head.rpn.width
    return (TeacherTap(teacher, side) if teacher else StudentTap(side)), head.tap_width(side)


def _link(pair: Context, what: str, source: Tap, target: Tap, levels: LevelPairs, widths: tuple[int, int]) -> Imitation:
    plan = pair.plan
    places = PlaceWeights(
        plan.location,
        Scores(plan.eta, plan.power, plan.gap),
        plan.foreground,
        pair.student,
        pair.teacher,
        levels.own_strides,
        levels.other_strides,
        levels.strides,
    )
    distance = MapDistance(
        plan.measure,
        places,
        channel=plan.channel,
        channel_temperature=plan.channel_temperature,
        valid=plan.valid,
        sample=plan.sample,
        temperature=plan.temperature,
        reduce=plan.reduce,
    )
    adapter = pair.convolution(*widths, bias=plan.measure not in AFFINE, levels=len(levels.own))
    name = f"{pair.name}/{what}"
    return Imitation(name, source, target, adapter=adapter, match=levels, criterion=distance, weight=Weight(1.0))
