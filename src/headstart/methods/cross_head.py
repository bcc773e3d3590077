"""A student's features through a teacher's frozen head: the source of CrossKD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from headstart.detectors.detector import Detector
from headstart.detectors.taps import read_tap, tap_width
from headstart.heads.protocol import as_dense, dense_outputs
from headstart.methods.criteria.soft_labels import match_statistics
from headstart.methods.pairing import coarsen, stride_factors
from headstart.methods.step import Needs, Step
from headstart.structures import DenseOutputs
from headstart.teachers.base import Teacher

SIDES = ("cls", "reg")


class CrossHead(nn.Module):
    """A student's maps, entered into a teacher's dense head at block `start`; gives the predictions of that head.

    start 0 reads the student's pyramid, for student heads of every kind; start i the student's own towers after as many
    blocks (in proportion, where the towers have another depth), which it must have then. Levels correspond by their
    place from the finest; maps of finer strides are averaged to the teacher's. Where channels differ, there is a 1x1
    convolution between, shared by the levels. The maps are then given the mean and deviation of the teacher's channels
    on the same batch (`match_statistics`) and go through the teacher's remaining blocks, predictions and scales.
    Gradient reaches the student's layers below the tap and the convolutions between.

    activated   the taps are read after their activation, as the released code does (an in-place ReLU overwrites what
                it keeps), and cut off below what the teacher's activation can give: rectified for a ReLU. Or before
                it, as its text says; they are then activated as the teacher does
    statistics  whether they are matched

    Source: CrossKD (arXiv:2306.11369), tests/parity, crosskd_*.
    """

    def __init__(
        self, student: Detector, teacher: Teacher, start: int, *, activated: bool = True, statistics: bool = True
    ) -> None:
        super().__init__()
        head = teacher.model.head
        self.teacher, self.start, self.activated, self.statistics = teacher, start, activated, statistics
        self.places = dict.fromkeys(SIDES, "neck")
        own_strides = student.neck.strides
        if start:
            own, theirs = student.head.tower_shape, head.tower_shape
            block = max(1, round(start * own[1] / theirs[1])) if own and theirs else 1
            self.places = {side: f"{side}_tower/{block - 1}" for side in SIDES}
            own_strides = student.head.strides
        self.factors = stride_factors(own_strides, head.strides)
        self.teacher_places = {side: f"{side}_tower/{start - 1}" if start else "neck" for side in SIDES}
        widths = tap_width(student, self.places["cls"]), tap_width(teacher.model, self.teacher_places["cls"])
        self.adapters = nn.ModuleDict()
        if widths[0] != widths[1]:
            # At the pyramid both towers read the same maps, so one layer serves both.
            sides = SIDES if start else ("cls",)
            self.adapters.update({side: nn.Conv2d(*widths, 1) for side in sides})
        self.widths = widths

    @property
    def needs(self) -> Needs:
        return Needs(trace=self.start > 0)

    def forward(self, step: Step) -> DenseOutputs:
        """What the teacher's head says to the student's maps, for the levels that both have."""
        targets = self.teacher.taps(step.batch, list(dict.fromkeys(self.teacher_places.values())))
        if self.start:
            cls, reg = (self._prepare(side, step, targets) for side in SIDES)
        else:
            cls = reg = self._prepare("cls", step, targets)
        activated = self.activated and self.start > 0
        return self.teacher.resume(cls, reg, start=self.start, sizes=step.batch.sizes, activated=activated)

    def _prepare(self, side: str, step: Step, targets: dict[str, list[Tensor]]) -> list[Tensor]:
        maps = read_tap(step.student, self.places[side], step.features, step.outputs)
        head = as_dense(self.teacher.model.head)
        activated = self.activated and self.start > 0
        maps = coarsen([as_dense(step.student.head).activate(x) for x in maps] if activated else maps, self.factors)
        if side in self.adapters:
            maps = [self.adapters[side](x) for x in maps]
        if self.statistics:
            goals = targets[self.teacher_places[side]][: len(maps)]
            maps = [match_statistics(x, head.activate(t) if activated else t) for x, t in zip(maps, goals)]
        return [functional.relu(x - head.minimum) + head.minimum for x in maps] if activated else maps

    def __str__(self) -> str:
        between = f", 1x1 {self.widths[0]} -> {self.widths[1]}" if len(self.adapters) else ""
        place = "pyramid" if not self.start else f"towers after block {self.places['cls'].partition('/')[2]}"
        return f"student {place}{between}, through the {self.teacher.title}'s head from block {self.start}"


@dataclass(frozen=True, eq=False)
class TeacherOutputs:
    """A dense teacher's own predictions, of as many levels as are compared."""

    teacher: Teacher
    levels: int

    @property
    def needs(self) -> Needs:
        return Needs()

    def __call__(self, step: Step) -> DenseOutputs:
        found = dense_outputs(self.teacher.outputs(step.batch))
        quality = found.quality[: self.levels] if found.quality else None
        return DenseOutputs(found.cls[: self.levels], found.reg[: self.levels], quality, found.sizes)

    def __str__(self) -> str:
        return f"{self.teacher.title} predictions"
