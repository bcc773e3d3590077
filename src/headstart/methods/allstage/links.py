"""The links of a pair of detectors, group by group, and why it lacks those that it cannot have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from torch import nn

from headstart.classmap import ClassMap, match_classes
from headstart.detectors.detector import Detector
from headstart.detectors.taps import level_names, tap_width
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.gfl import GFLHead
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.adapters import Adapter, ConvAdapter, LinearAdapter
from headstart.methods.allstage.cells import CellOutputs, RPNTower
from headstart.methods.allstage.distances import MapDistance, RowDistance
from headstart.methods.allstage.micro import PlaceWeights, Scores
from headstart.methods.allstage.plan import Plan
from headstart.methods.allstage.region_logits import RegionLogits
from headstart.methods.allstage.regions import RegionPredictionsTap, RegionTap, RegionTaps
from headstart.methods.assistants import AssistantLosses, AssistantTap, TeacherLayer, assistant_for, kind_of
from headstart.methods.criteria.cells import CellPredictions
from headstart.methods.criteria.predictions import DensePredictions
from headstart.methods.guidance import Guidance
from headstart.methods.imitation import Imitation
from headstart.methods.levels import LevelPairs, pair_levels
from headstart.methods.mimic import same_layout
from headstart.methods.soft_levels import SoftLevels, StudentCrops, TeacherCrops
from headstart.methods.step import Needs
from headstart.methods.taps import StudentTap, Tap, TeacherTap
from headstart.methods.weight import Weight
from headstart.teachers.base import Teacher

AFFINE = ("pearson", "ssim")
"""Measures to which the size and offset of a channel do not count: a bias before them would never be trained."""

CONSTANTS = {"cls": 1.0, "box": 1.0}


class LeftOutError(Exception):
    """Why this pair cannot have a group of links."""


@dataclass
class Links:
    """What was made: the links by group, assistants that they read, and what was left out with the reason."""

    groups: dict[str, list[Imitation]] = field(default_factory=dict)
    assist: list[Guidance] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def make_links(name: str, student: Detector, teacher: Teacher, plan: Plan) -> Links:
    """Every group of the plan that student and teacher can have. Raises UserError if that is none."""
    build = _Builder(name, student, teacher, plan)
    made: dict[str, Callable[[], list[Imitation]]] = {
        "backbone": build.backbone,
        "neck": build.neck,
        "dense_cls": lambda: build.tower("cls_tower"),
        "dense_reg": lambda: build.tower("reg_tower"),
        "region": build.region,
        "logit": build.logit,
    }
    for group, make in made.items():
        if group not in (plan.stages or made):
            continue
        try:
            if plan.stages is None and group == "backbone":
                build.demand_one_family()
            build.links.groups[group] = make()
        except LeftOutError as reason:
            build.links.left.append((group, str(reason)))
    if not build.links.groups:
        reasons = "; ".join(f"{group}: {why}" for group, why in build.links.left)
        raise UserError(
            f"method allstage needs a group of links that this pair can have ({reasons}); choose others "
            "by stages, or use method head"
        )
    return build.links


class _Builder:
    """Makes the links of one student and one teacher."""

    def __init__(self, name: str, student: Detector, teacher: Teacher, plan: Plan) -> None:
        self.name, self.student, self.teacher, self.plan = name, student, teacher, plan
        self.classes: ClassMap = teacher.match(student.classes)
        self.links = Links()

    # -- maps --------------------------------------------------------------------------------------------------------

    def backbone(self) -> list[Imitation]:
        """The stages C3 to C5 that both have, a link each, since their widths differ."""
        own, other = self.student.backbone, self.teacher.model.backbone
        strides = [stride for stride in own.strides if stride in other.strides and 8 <= stride <= 32]
        if not strides:
            raise LeftOutError(f"no stage from stride 8 to 32 in common: {list(own.strides)} and {list(other.strides)}")
        made = []
        for stride, stage in zip(strides, level_names("C", strides)):
            place = f"backbone/{stage}"
            alone = LevelPairs((0,), (0,), (stride,), (stride,), self.plan.resize)
            made.append(
                self._maps(
                    place,
                    StudentTap(place),
                    TeacherTap(self.teacher, place),
                    alone,
                    (tap_width(self.student, place), tap_width(self.teacher.model, place)),
                )
            )
        return made

    def demand_one_family(self) -> None:
        """Backbones of different families have little in common, and their maps are large: only if asked for."""
        own, other = kind_of(self.student.head), kind_of(self.teacher.model.head)
        if own != other:
            raise LeftOutError(f"by default only between detectors of one family, not {other} and {own}")

    def neck(self) -> list[Imitation]:
        """The pyramids, through one layer for all levels."""
        widths = self.student.neck.width, self.teacher.model.neck.width
        return [self._maps("neck", StudentTap("neck"), TeacherTap(self.teacher, "neck"), self.pairs(), widths)]

    def tower(self, side: str) -> list[Imitation]:
        """The last blocks of two towers; of a two-stage detector the RPN's, which is one for both."""
        own, other = self.student.head, self.teacher.model.head
        for who, head in (("student", own), ("teacher", other)):
            if isinstance(head, RPNBasedHead) and side == "reg_tower":
                raise LeftOutError(f"the {who}'s RPN has one tower, which is that of dense_cls")
            if not isinstance(head, RPNBasedHead | DenseHead):
                raise LeftOutError(f"the {who}'s head is not one of headstart's")
        pairs = self.pairs()
        for head, detector in ((own, self.student), (other, self.teacher.model)):
            if list(head.strides) != list(detector.neck.strides)[: len(head.strides)]:
                raise LeftOutError("a head does not read the levels of its pyramid in order")
        source, width = self._tower_tap(self.student, None, side)
        target, goal = self._tower_tap(self.teacher.model, self.teacher, side)
        return [self._maps(side, source, target, pairs, (width, goal))]

    def pairs(self) -> LevelPairs:
        """Which levels belong together, the finest of them."""
        plan = self.plan
        try:
            return pair_levels(
                "allstage", self.student, self.teacher, plan.levels, resize=plan.resize, finest=plan.finest
            )
        except UserError as error:
            raise LeftOutError(str(error)) from None

    def _tower_tap(self, detector: Detector, teacher: Teacher | None, side: str) -> tuple[Tap, int]:
        head = detector.head
        if isinstance(head, RPNBasedHead):
            return RPNTower(head.rpn, teacher), head.rpn.width
        return (TeacherTap(teacher, side) if teacher else StudentTap(side)), head.tap_width(side)

    def _maps(self, what: str, source: Tap, target: Tap, pairs: LevelPairs, widths: tuple[int, int]) -> Imitation:
        plan = self.plan
        places = PlaceWeights(
            plan.location,
            Scores(plan.eta, plan.power, plan.gap),
            plan.foreground,
            self.student,
            self.teacher,
            pairs.own_strides,
            pairs.other_strides,
            pairs.strides,
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
        return Imitation(
            f"{self.name}/{what}",
            source,
            target,
            weight=Weight(1.0),
            match=pairs,
            criterion=distance,
            adapter=self._convolution(*widths, bias=plan.measure not in AFFINE),
        )

    # -- regions -----------------------------------------------------------------------------------------------------

    def region(self) -> list[Imitation]:
        """The layers of two box heads, or crops of the pyramids, at shared boxes; or an assistant's layers."""
        if self.plan.through == "assistant":
            return self._assisted()
        regions = self.regions()
        if self.plan.through == "soft":
            return [self._softly(regions)]
        if not regions.both_read_regions:
            widths = self.student.neck.width, self.teacher.model.neck.width
            adapter = self._convolution(*widths, bias=True)
            return [self._rows("crops", RegionTap(regions, own=True), RegionTap(regions, own=False), adapter, regions)]
        own, other = (detector.head.box_heads[0] for detector in (self.student, self.teacher.model))
        # Where one has more layers than the other, the last ones correspond.
        number = min(len(own.layers), len(other.layers))
        made = []
        for index in range(-number, 0):
            taps = (
                RegionTap(regions, True, len(own.layers) + index),
                RegionTap(regions, False, len(other.layers) + index),
            )
            made.append(
                self._rows(f"fc{len(own.layers) + index}", *taps, self._linear(own.hidden, other.hidden), regions)
            )
        return made

    def regions(self) -> RegionTaps:
        """Where both are read, shared by the links of all groups."""
        plan = self.plan
        if not hasattr(self, "_regions"):
            count = self.student.head.regions_per_image
            if plan.boxes != "teacher" and count and plan.regions > count:
                raise UserError(
                    f"method allstage: regions is {plan.regions}, but the student samples {count} regions per image; "
                    "give fewer, or boxes=teacher"
                )
            self._regions = RegionTaps(plan.boxes, plan.regions, self.student, self.teacher, self.pairs(), self.classes)
        return self._regions

    def _assisted(self) -> list[Imitation]:
        """The layers of an assistant of the teacher's kind imitate the teacher's, as in HEAD's AKD."""
        if self.teacher.model.head.predicts_at != "regions":
            raise LeftOutError("an assistant of a dense teacher reads no regions: use through=student")
        assistant = assistant_for(self.teacher, self.student)
        fresh = assistant.init_from_teacher(self.teacher, self.classes)
        needs, title = Needs(regions=self.plan.regions), f"assistant/{self.name}"
        self.links.assist.append(AssistantLosses(title, assistant, Weight(1.0), needs, fresh))
        distance = RowDistance(self.plan.row_measure, None, relation=0.0)
        return [
            Imitation(
                f"{self.name}/{layer}",
                AssistantTap(title, assistant, layer),
                TeacherLayer(self.teacher, assistant, layer),
                adapter=assistant.adapter(),
                weight=Weight(1.0),
                criterion=distance,
                reads=needs,
            )
            for layer in assistant.layers
        ]

    def _softly(self, regions: RegionTaps) -> Imitation:
        """Crops of all of the student's levels, mixed by their likeness to the teacher's, as in SGFI."""
        width, needs = self.teacher.model.neck.width, Needs(regions=self.plan.regions)
        taps = StudentCrops(self.student, width, needs), TeacherCrops(self.teacher, needs)
        return self._rows("crops", *taps, SoftLevels(width), regions)

    def _rows(self, what: str, source: Tap, target: Tap, adapter: Adapter | None, regions: RegionTaps) -> Imitation:
        distance = RowDistance(
            self.plan.row_measure, regions, micro=self.plan.row, worse=self.plan.worse, relation=self.plan.relation
        )
        name = f"{self.name}/{what}"
        return Imitation(name, source, target, adapter=adapter, weight=Weight(1.0), criterion=distance)

    # -- predictions -------------------------------------------------------------------------------------------------

    def logit(self) -> list[Imitation]:
        """Classes and boxes: of dense heads cell by cell; of two-stage ones the RPNs' and, at shared boxes, the box
        heads'."""
        own, other = self.student.head, self.teacher.model.head
        if isinstance(own, DenseHead) and isinstance(other, DenseHead):
            return [self._cells(own, other, self.classes, "cells")]
        if isinstance(own, RPNBasedHead) and isinstance(other, RPNBasedHead):
            regions, heads = self.regions(), (own.box_heads[0], other.box_heads[0])
            taps = RegionPredictionsTap(regions, own=True), RegionPredictionsTap(regions, own=False)
            made = [Imitation(f"{self.name}/boxes", *taps, weight=Weight(1.0), criterion=RegionLogits(*heads, regions))]
            try:
                made.append(self._cells(own.rpn, other.rpn, match_classes(("object",), ("object",)), "rpn"))
            except LeftOutError as reason:
                self.links.left.append(("logit of the RPN", str(reason)))
            return made
        raise LeftOutError("one predicts at cells and the other at regions")

    def _cells(self, own: DenseHead | RPNHead, other: DenseHead | RPNHead, classes: ClassMap, what: str) -> Imitation:
        both = min(len(own.strides), len(other.strides))
        if list(own.strides)[:both] != list(other.strides)[:both]:
            raise LeftOutError(f"cells of one size are compared, and the strides are {own.strides} and {other.strides}")
        # The two classes ask of a head what every head at cells has.
        mine, theirs = cast(DenseHead, own), cast(DenseHead, other)
        criterion: DensePredictions | CellPredictions = CellPredictions(mine, theirs, classes, CONSTANTS)
        if isinstance(own, GFLHead) and same_layout(mine, theirs) and classes.identical:
            criterion = DensePredictions(theirs, mine, classes, CONSTANTS, "distribution", confidence=True)
        taps = CellOutputs(own, both), CellOutputs(other, both, self.teacher)
        return Imitation(f"{self.name}/{what}", *taps, weight=Weight(1.0), criterion=criterion)

    # -- adapters ----------------------------------------------------------------------------------------------------

    def _convolution(self, channels: int, width: int, *, bias: bool) -> Adapter | None:
        if channels == width and self.plan.adapter == "needed":
            return None
        made = ConvAdapter(channels, width, bias=bias)
        _start(made.conv, same=channels == width)
        return made

    def _linear(self, channels: int, width: int) -> Adapter | None:
        if channels == width and self.plan.adapter == "needed":
            return None
        made = LinearAdapter(channels, width)
        _start(made.linear, same=channels == width)
        return made


def _start(layer: nn.Conv2d | nn.Linear, *, same: bool) -> None:
    """As the identity where widths are the same, so that the first step compares the student itself; else Kaiming's."""
    if not same:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    elif isinstance(layer, nn.Conv2d):
        nn.init.dirac_(layer.weight)
    else:
        nn.init.eye_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
