"""Soft matching of levels: crops of all of a student's levels, mixed by how much they resemble the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.methods.adapters import Adapter, start_as_identity
from headstart.methods.crops import crop, crop_every_level, object_level
from headstart.methods.pairing import Pair
from headstart.methods.step import Needs, Step
from headstart.methods.taps import TeacherTap
from headstart.teachers.base import Teacher

GRID = 7
"""Cells of a crop per side: what two 3x3 convolutions of stride 2 make one vector of."""

COLDEST = 0.05
"""The least temperature: below it the mixture is one level, and the others get no gradient."""


class StudentCrops(nn.Module):
    """Crops of the shared regions from every level of the student's pyramid, [l] (R, width, 7, 7), with gradient.

    Through one 1x1 convolution, shared by the levels, which begins as the identity where widths are equal.
    """

    def __init__(self, student: Detector, width: int, needs: Needs) -> None:
        super().__init__()
        own = student.neck
        self.needs, self.strides = needs, list(own.strides)
        self.conv = nn.Conv2d(own.width, width, 1)
        start_as_identity(self.conv)

    def forward(self, step: Step) -> list[Tensor]:
        maps = [self.conv(x) for x in step.features.pyramid]
        return crop_every_level(maps, self.strides, [r.boxes for r in step.regions], GRID)

    def __str__(self) -> str:
        return f"student neck, all {len(self.strides)} levels at shared boxes"


@dataclass(frozen=True, eq=False)
class TeacherCrops:
    """Crops of the shared regions from the teacher's pyramid, each from the level of its size: one (R, C * 49)."""

    teacher: Teacher
    needs: Needs

    def __call__(self, step: Step) -> list[Tensor]:
        maps = TeacherTap(self.teacher, "neck")(step)
        boxes, strides = [r.boxes for r in step.regions], list(self.teacher.model.neck.strides)
        with torch.no_grad():
            level = object_level(torch.cat(boxes), strides[0], len(maps))
            return [crop(maps, strides, boxes, level, GRID).flatten(1)]

    def __str__(self) -> str:
        return f"{self.teacher.title} neck at shared boxes"


class SoftLevels(Adapter):
    """The student's crops of all levels to one per box: sum over levels of a_l S_l, (R, C * 49).

    a = softmax over levels of <g(S_l), g(T)> / tau, T the teacher's crop, g two 3x3 convolutions of stride 2 to half
    and to a quarter of the channels, each with a ReLU, shared by both sides. tau is learned, from 1, and at least 0.05.

    Source: G-DetKD (arXiv:2108.07482); sizes of g and start of tau as in the first version of a re-implementation
    (LutingWang/todd at 2000658), whose later versions take the softmax over boxes. The paper's own code is not known.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, half, quarter = width, max(width // 2, 1), max(width // 4, 1)
        self.embed = nn.Sequential(
            nn.Conv2d(width, half, 3, stride=2), nn.ReLU(), nn.Conv2d(half, quarter, 3, stride=2), nn.ReLU()
        )
        self.tau = nn.Parameter(torch.ones(()))

    def forward(self, pair: Pair) -> list[Tensor]:
        own, goal = torch.stack(pair.tensors), _only(pair.target)
        shares = self.shares(own, goal.unflatten(1, (self.width, GRID, GRID)))
        return [(own * shares[..., None, None, None]).sum(dim=0).flatten(1)]

    def shares(self, own: Tensor, goal: Tensor) -> Tensor:
        """(L, R, C, 7, 7), (R, C, 7, 7) -> (L, R): how much of each box's crop comes from each level; they sum to 1."""
        mine = self.embed(own.flatten(0, 1)).flatten(1).unflatten(0, own.shape[:2]).float()
        theirs = self.embed(goal.to(own.dtype)).flatten(1).float()
        return ((mine * theirs).sum(dim=-1) / self.tau.clamp(min=COLDEST)).softmax(dim=0)

    def __str__(self) -> str:
        return "1x1, softmax over levels"


def _only(target: object) -> Tensor:
    """The one tensor of a target."""
    if not isinstance(target, Sequence):
        raise TypeError(f"expected the crops of a teacher, found {type(target).__name__}")
    (crops,) = target
    return crops
