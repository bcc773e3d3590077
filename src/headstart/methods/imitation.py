"""The guidance that nearly all methods are made of: one place of the student imitates one place of somebody else."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from headstart.methods.adapters import Adapter, Identity
from headstart.methods.criteria import MSE
from headstart.methods.guidance import Guidance, Row
from headstart.methods.pairing import Correspondence, SamePlaces
from headstart.methods.step import Needs, Step
from headstart.methods.taps import Tap
from headstart.methods.weight import Weight, has_spread, mean_variance

DEAD = 1e-9
"""A target of a smaller variance is the same everywhere: a layer that was never trained, or that died."""


class Criterion(Protocol):
    """How far the adapted source is from the target: a scalar."""

    def __call__(self, source: list[Tensor], target: list[Tensor], step: Step) -> Tensor: ...


class Imitation(Guidance):
    """weight x criterion(adapter(source), target), read at places that `match` makes correspond.

    name       of its one term
    source     what learns: a place of the student, or of an assistant
    target     what is imitated; it gets no gradient
    adapter    from the source's channels to the target's; trained, then thrown away
    criterion  the distance; by default the mean squared error
    match      how places of the two correspond; by default they are the same
    reads      what reading source and target needs besides what they say themselves
    """

    def __init__(
        self,
        name: str,
        source: Tap,
        target: Tap,
        *,
        weight: Weight,
        adapter: Adapter | None = None,
        criterion: Criterion | None = None,
        match: Correspondence | None = None,
        reads: Needs | None = None,
    ) -> None:
        super().__init__()
        self.name, self.source, self.target = name, source, target
        self.adapter, self.weight = adapter or Identity(), weight
        self.criterion: Criterion = criterion or MSE()
        self.match = match or SamePlaces()
        self.needs = source.needs | target.needs | (reads or Needs())

    def forward(self, step: Step) -> dict[str, Tensor]:
        pair = self.match(self.source(step), self.target(step), step)
        own = self.adapter(pair)
        value = self.criterion(own, pair.target, step)
        return {self.name: self.weight(value, pair.target, own, step.progress)}

    def describe(self) -> list[Row]:
        source, target = f"{self.source}{self.match.source_at}", f"{self.target}{self.match.target_at}"
        return [Row(target, source, str(self.adapter), str(self.weight))]

    def problems(self, step: Step) -> list[str]:
        target = self.target(step)
        variance = float(mean_variance(target))
        if variance > DEAD or not has_spread(target):
            return []
        return [
            f"{self.target} is the same everywhere (variance {variance:.1g}), so there is nothing to imitate. Was the "
            "teacher trained? Choose another layer, or another teacher"
        ]

    def share(self, part: float) -> None:
        self.weight.share(part)
