"""The criteria of the links: a measure, weighted place by place, channel by channel or row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headstart.methods.allstage.measures import Measure, RowMeasure, masked_mean, measure_errors
from headstart.methods.allstage.micro import PlaceWeights, channel_weights
from headstart.methods.allstage.regions import RegionTaps
from headstart.methods.criteria.relation import relation
from headstart.methods.masks import valid_cells
from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of


@dataclass(frozen=True)
class MapDistance:
    """A measure of maps, level by level: mean over the cells that count of place weight x channel weight x error.

    places    the weights of places
    channel   whether channels are weighted;  channel_temperature  of their softmax
    valid     whether only cells that start inside their image count; else every cell of the batch
    sample, temperature  see `measure_errors`
    reduce    how the levels are put together
    """

    measure: Measure
    places: PlaceWeights
    channel: bool = False
    channel_temperature: float = 1.0
    valid: bool = True
    sample: bool = False
    temperature: float = 1.0
    reduce: Literal["mean", "sum"] = "mean"
    terms = {"": 1.0}

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: a map (B, C, H, W) per level. Gives one scalar."""
        maps, goals = tensors_of(source), tensors_of(target)
        masks = valid_cells(step.batch.sizes, goals, self.places.strides)
        if not self.valid:
            masks = [torch.ones_like(mask) for mask in masks]
        levels = zip(maps, goals, masks, self.places(step, masks), strict=True)
        found = torch.stack([self._level(*level) for level in levels])
        return {"": found.sum() if self.reduce == "sum" else found.mean()}

    def _level(self, own: Tensor, goal: Tensor, valid: Tensor, places: Tensor | None) -> Tensor:
        mask = valid.float()
        errors = measure_errors(self.measure, own, goal, mask, sample=self.sample, temperature=self.temperature)
        if self.channel and errors.shape[1] > 1:
            errors = errors * channel_weights(goal, mask, self.channel_temperature)
        if places is not None:
            errors = errors * places
        return masked_mean(errors, mask, (0, 2, 3)).mean()


@dataclass(frozen=True, eq=False)
class RowDistance:
    """A measure of regions: mean over rows of row weight x error, a row being all that was read of one region.

    regions   gives the weights of rows, if they are weighted (`micro`), and says which are of one image
    worse     see `row_weights`
    relation  the weight of a second part, `relation` of the regions of each image
    """

    measure: RowMeasure
    regions: RegionTaps | None = None
    micro: bool = False
    worse: float = 0.25
    relation: float = 0.0
    terms = {"": 1.0}

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: one tensor (R, D), or crops (R, C, grid, grid). Gives one scalar."""
        (rows,), (goals,) = tensors_of(source), tensors_of(target)
        if rows.shape != goals.shape:
            raise ValueError(f"student's features are {tuple(rows.shape)}, teacher's {tuple(goals.shape)}")
        if not len(rows):
            return {"": rows.float().sum() * 0}
        # What the weights need may have to be computed, in the precision of the run.
        weights = self.regions.weights(step, self.worse) if self.micro and self.regions is not None else None
        with torch.autocast(rows.device.type, enabled=False):
            rows, goals = rows.float().flatten(1), goals.detach().float().flatten(1)
            every = torch.ones_like(rows[:, :1, None, None])
            errors = measure_errors(self.measure, rows[:, :, None, None], goals[:, :, None, None], every)
            found = errors.flatten(1).mean(dim=1)
            total = (found if weights is None else found * weights).mean()
            if self.relation and self.regions is not None:
                total = total + self.relation * self._relation(rows, goals, self.regions.counts(step))
        return {"": total}

    @staticmethod
    def _relation(rows: Tensor, goals: Tensor, counts: Sequence[int]) -> Tensor:
        """The mean over images of `relation` of their rows; an image of fewer than 3 has none and counts as 0."""
        pairs = zip(rows.split(list(counts)), goals.split(list(counts)))
        return torch.stack([relation(own, goal) for own, goal in pairs]).mean()
