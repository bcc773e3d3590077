"""Where inside a link it counts most: weights of places, of channels and of rows, each with mean 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from headstart.boxes import aligned_iou
from headstart.detectors.detector import Detector
from headstart.methods.allstage.measures import masked_mean
from headstart.methods.masks import density_masks, level_masks
from headstart.methods.pairing import coarsen
from headstart.methods.scores import has_scores, scoring_head, student_scores, teacher_scores
from headstart.methods.step import Step
from headstart.teachers.base import Teacher

Location = Literal["score", "objects", "split", "uniform"]

LEAST, MOST = 0.2, 5.0
"""Bounds of a channel's weight."""


@dataclass(frozen=True)
class Scores:
    """The form of the weight of a place by scores: eta + q_t^a (1 + b |q_t - q_s|)."""

    eta: float = 0.1
    power: float = 1.0
    gap: float = 1.0

    def weigh(self, teacher: Tensor, student: Tensor | None) -> Tensor:
        """From the scores of a place, 0..1, in any shape; without the student's there is no gap."""
        found = teacher.pow(self.power)
        if student is not None and self.gap:
            found = found * (1 + self.gap * (teacher - student).abs())
        return self.eta + found


@dataclass(frozen=True)
class PlaceWeights:
    """The weights of the places of a link's levels.

    kind     "score": `Scores` of teacher and student at the level of the map (of the nearest stride, for a backbone's).
             "objects": FGD's masks, half of the weight to the objects, half to the background. "split": DeFeat's,
             `foreground` of it to the cells of the level's objects. "uniform": 1 everywhere
    student, teacher   whose scores are asked for
    own, other   strides of the student's and the teacher's maps;  strides  of the maps that are compared
    """

    kind: Location
    scores: Scores
    foreground: float
    student: Detector
    teacher: Teacher
    own: tuple[int, ...]
    other: tuple[int, ...]
    strides: tuple[int, ...]

    @torch.no_grad()
    def __call__(self, step: Step, masks: Sequence[Tensor]) -> list[Tensor | None]:
        """A weight (B, 1, H, W) for each level; masks: bool (B, 1, H, W), the cells that count."""
        if self.kind == "uniform":
            return [None] * len(masks)
        if self.kind == "score":
            return self._by_scores(step, masks)
        made = density_masks if self.kind == "objects" else level_masks
        objects, others = made(step.targets, masks, self.strides)
        share = 0.5 if self.kind == "objects" else self.foreground
        return [
            _spread(inside, mask, share) + _spread(outside, mask, 1 - share)
            for inside, outside, mask in zip(objects, others, masks)
        ]

    def _by_scores(self, step: Step, masks: Sequence[Tensor]) -> list[Tensor | None]:
        theirs = self._at(teacher_scores(self.teacher, step), self.teacher.model, self.other, masks)
        mine: Sequence[Tensor | None] = [None] * len(masks)
        if has_scores(self.student):
            mine = self._at(student_scores(step), self.student, self.own, masks)
        return [normalise(self.scores.weigh(t, s), mask) for t, s, mask in zip(theirs, mine, masks)]

    def _at(
        self, scores: Sequence[Tensor], detector: Detector, strides: Sequence[int], masks: Sequence[Tensor]
    ) -> list[Tensor]:
        """The scores at the levels nearest to `strides`, averaged as the maps are, and as large as the masks."""
        head = scoring_head(detector.head)
        known = list(head.strides) if head is not None else []
        found = []
        for stride, compared, mask in zip(strides, self.strides, masks):
            level = min(range(len(known)), key=lambda index: abs(known[index].bit_length() - stride.bit_length()))
            (score,) = coarsen([scores[level]], [max(1, compared // known[level])])
            shape = mask.shape[-2:]
            found.append(score if score.shape[-2:] == shape else functional.interpolate(score, size=shape))
        return found


def normalise(weights: Tensor, mask: Tensor) -> Tensor:
    """(B, 1, H, W) with mean 1 over the cells of the mask in the whole batch: an image without objects stays quiet."""
    return weights / masked_mean(weights, mask.float(), (0, 1, 2, 3)).clamp(min=1e-12)


def channel_weights(teacher: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """(1, C, 1, 1) of mean 1: C x softmax over channels of m / mean(m) / temperature, m the mean size of a channel.

    teacher (B, C, H, W); mask (B, 1, H, W) float. Between 0.2 and 5, and then divided by the mean once more. The
    division by the mean size makes them the same for a map ten times as large; FGD feeds the sizes themselves.
    """
    size = masked_mean(teacher.detach().float().abs(), mask)
    found = size.numel() * functional.softmax(size / size.mean().clamp(min=1e-12) / temperature, dim=1)
    found = found.clamp(LEAST, MOST)
    return found / found.mean()


def row_weights(
    scores: Tensor, boxes: tuple[Tensor, Tensor] | None, matched: Tensor, objects: Tensor, worse: float
) -> Tensor:
    """(R,) of mean 1: the teacher's score, times `worse` where its box is farther from the object than the student's.

    scores   (R,) 0..1: the largest of the teacher's class probabilities of each region
    boxes    the student's and the teacher's, (R, 4) each; None where one of them makes none of regions
    matched  (R, 4) the object of each region, which counts where `objects` (R,) bool

    Source of the second factor: TADF (arXiv:2006.13108).
    """
    found = scores
    if boxes is not None:
        own, theirs = (aligned_iou(side, matched)[0] for side in boxes)
        found = torch.where(objects & (theirs < own), found * worse, found)
    return found / found.mean().clamp(min=1e-12) if len(found) else found


def _spread(mask: Tensor, valid: Tensor, share: float) -> Tensor:
    """`mask` (B, 1, H, W) scaled so that its mean over the valid cells is `share`; 0 where nothing is in it."""
    mask = mask.float()
    return mask * (share * valid.sum() / mask.sum().clamp(min=1e-12))
