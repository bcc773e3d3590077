"""What the links of a pair of detectors are made of: the pair, the plan, and what all links share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from headstart.classmap import ClassMap
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.adapters import Adapter, ConvAdapter, LevelAdapter, LinearAdapter, start_as_identity
from headstart.methods.allstage.plan import Plan
from headstart.methods.allstage.regions import RegionTaps
from headstart.methods.guidance import Guidance
from headstart.methods.levels import LevelPairs, pair_levels
from headstart.teachers.base import Teacher


class LeftOutError(Exception):
    """Why this pair cannot have a group of links, or one of them."""


@dataclass
class Context:
    """A student, a teacher and the plan.

    name    of the guidance, with which the names of its links begin
    classes which class of the student each of the teacher's is
    assist  assistants that links read, collected here
    left    what is left out of a group that there is, and why, collected here
    """

    name: str
    student: Detector
    teacher: Teacher
    plan: Plan
    classes: ClassMap
    assist: list[Guidance] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def pairs(self) -> LevelPairs:
        """Which levels belong together, the finest of them. Raises LeftOutError if none do."""
        plan = self.plan
        try:
            return pair_levels(
                "allstage", self.student, self.teacher, plan.levels, resize=plan.resize, finest=plan.finest
            )
        except UserError as error:
            raise LeftOutError(str(error)) from None

    @cached_property
    def regions(self) -> RegionTaps:
        """Where both are read, shared by the links of all groups."""
        plan, count = self.plan, self.student.head.regions_per_image
        if plan.boxes != "teacher" and count and plan.regions > count:
            raise UserError(
                f"method allstage: regions is {plan.regions}, but the student samples {count} regions per image; "
                "give fewer, or boxes=teacher"
            )
        return RegionTaps(plan.boxes, plan.regions, self.student, self.teacher, self.pairs, self.classes)

    @property
    def own_regions(self) -> int:
        """How many of the student's own regions are read per image: as planned, but no more than it samples."""
        return min(self.plan.regions, self.student.head.regions_per_image or self.plan.regions)

    def demand_known_heads(self) -> None:
        """Raises LeftOutError for a head that is not one of headstart's."""
        for who, detector in (("student", self.student), ("teacher", self.teacher.model)):
            if not isinstance(detector.head, RPNBasedHead | DenseHead):
                raise LeftOutError(f"the {who}'s head is not one of headstart's")

    def convolution(self, channels: int, width: int, *, bias: bool, levels: int = 0) -> Adapter | None:
        """The layer between the maps of `levels`, each of which may have one of its own; 0: between crops."""
        if channels == width and self.plan.adapter == "needed":
            return None
        if self.plan.per_level and levels:
            return LevelAdapter(channels, width, levels, self.plan.kernel)
        made = ConvAdapter(channels, width, bias=bias)
        _start(made.conv, same=channels == width)
        return made

    def linear(self, channels: int, width: int) -> Adapter | None:
        """The layer between vectors."""
        if channels == width and self.plan.adapter == "needed":
            return None
        made = LinearAdapter(channels, width)
        _start(made.linear, same=channels == width)
        return made


def _start(layer: nn.Conv2d | nn.Linear, *, same: bool) -> None:
    """As the identity where widths are the same, so that the first step compares the student itself; else Kaiming's."""
    if same and isinstance(layer, nn.Conv2d):
        start_as_identity(layer)
        return
    nn.init.eye_(layer.weight) if same else nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
