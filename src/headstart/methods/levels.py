"""Which level of a student's pyramid corresponds to which of a teacher's: by stride, or by the size of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from headstart.detectors.detector import Detector
from headstart.detectors.taps import level_names
from headstart.errors import UserError
from headstart.methods.pairing import Correspondence, Pair, coarsen
from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of
from headstart.teachers.base import Teacher

Levels = Literal["auto", "stride", "scale"]
"""stride: levels of one stride. scale: levels for objects of one size, from the finest. auto: see `pair_levels`."""

Resize = Literal["coarser", "teacher"]
"""coarser: the finer map is averaged to the coarser. teacher: the student's is interpolated to the teacher's size."""


@dataclass(frozen=True)
class LevelPairs(Correspondence):
    """Level own[l] of the student's pyramid with level other[l] of the teacher's, by their numbers from the finest.

    own_strides, other_strides  of these levels, pixels
    resize  how maps of different strides are brought to one size
    """

    own: tuple[int, ...]
    other: tuple[int, ...]
    own_strides: tuple[int, ...]
    other_strides: tuple[int, ...]
    resize: Resize = "coarser"
    source_at: str = ""
    target_at: str = ""
    of_maps = True

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        """Two maps of one size per pair, of the strides that `strides` says."""
        maps, goals = tensors_of(source), tensors_of(target)
        return Pair(
            self._resized([maps[level] for level in self.own], [goals[level] for level in self.other]),
            self.pick([goals[level] for level in self.other], self.other_strides),
        )

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the maps that are compared, pixels."""
        if self.resize == "teacher":
            return self.other_strides
        return tuple(max(pair) for pair in zip(self.own_strides, self.other_strides, strict=True))

    def pick(self, maps: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
        """Maps (B, C, H, W) of the paired levels of `strides`, averaged to the strides of the comparison."""
        return coarsen(maps, [goal // stride for goal, stride in zip(self.strides, strides, strict=True)])

    def _resized(self, maps: list[Tensor], goals: list[Tensor]) -> list[Tensor]:
        """The student's maps."""
        if self.resize == "coarser":
            return self.pick(maps, self.own_strides)
        return [
            m if m.shape[-2:] == g.shape[-2:] else functional.interpolate(m, size=g.shape[-2:], mode="bilinear")
            for m, g in zip(maps, goals, strict=True)
        ]


def pair_levels(
    method: str,
    student: Detector,
    teacher: Teacher,
    levels: Levels = "auto",
    *,
    resize: Resize = "coarser",
    finest: int | None = None,
) -> LevelPairs:
    """How the pyramids of a student and a teacher correspond for `method`.

    "scale" pairs the levels by their numbers from the finest: an RPN's finest level, of stride 4, and a dense head's,
    of stride 8, both answer for objects from 32 pixels on. Where one side has more levels, its coarsest are left out.
    "auto" is "scale" between a two-stage teacher and a student that predicts at cells, as the published recipes of PKD
    and HEAD have it, where their strides are at most twice each other's; else "stride". `finest`: only so many pairs.

    Raises UserError if they share no stride, or if levels of one number differ by more than a factor 2 in stride.
    """
    own, other = student.neck.strides, teacher.model.neck.strides
    number = min(len(own), len(other))
    near = all(max(a, b) <= 2 * min(a, b) for a, b in zip(own, other))
    across = teacher.model.head.predicts_at == "regions" and student.head.predicts_at == "cells"
    if levels == "scale" and not near:
        raise UserError(
            f"method {method} needs levels whose strides are at most twice each other's to pair them by scale: the "
            f"student's are {list(own)}, the teacher's {list(other)}; use levels=stride, or method head"
        )
    if levels == "scale" or (levels == "auto" and across and near):
        pairs = [(level, level) for level in range(number)]
    else:
        pairs = [(own.index(stride), other.index(stride)) for stride in own if stride in other]
    if not pairs:
        raise UserError(
            f"method {method} needs a stride that both pyramids have: the student's are {list(own)}, the teacher's "
            f"{list(other)}; use method head"
        )
    mine, theirs = ([pair[side] for pair in pairs[:finest]] for side in (0, 1))
    strides = tuple(own[level] for level in mine), tuple(other[level] for level in theirs)
    said = ("", "") if strides[0] == strides[1] else tuple(" " + _names(side) for side in strides)
    return LevelPairs(tuple(mine), tuple(theirs), *strides, resize, *said)


def _names(strides: Sequence[int]) -> str:
    """P3 to P6."""
    names = level_names("P", strides)
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
