"""The guidance that nearly all methods are made of: one place of the student imitates one place of somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar, cast

from torch import Tensor

from headstart.methods.adapters import Adapter, Identity
from headstart.methods.criteria import MSE
from headstart.methods.guidance import Guidance, Row
from headstart.methods.pairing import Correspondence, SamePlaces
from headstart.methods.step import Needs, Step
from headstart.methods.taps import Tap
from headstart.methods.weight import Weight, has_spread, mean_variance
from headstart.structures import DenseOutputs, RegionOutputs, Signal, tensors_of

DEAD = 1e-9
"""A target of a smaller variance is the same everywhere: a layer that was never trained, or that died."""


Compared = TypeVar("Compared", contravariant=True, bound=Signal)


class Criterion(Protocol[Compared]):
    """How far what was adapted is from its target, in one or several terms: scalars, 0 where they agree.

    terms  the end of each term's name ("" where there is one) -> its constant beside the others
    """

    @property
    def terms(self) -> Mapping[str, float]: ...

    def __call__(self, source: Compared, target: Compared, step: Step) -> dict[str, Tensor]: ...


class Imitation(Guidance):
    """weight x criterion(adapter(source), target), read at places that `match` makes correspond.

    name       of its term, or the beginning of its terms' names
    source     what learns: a place of the student, or of an assistant; it may hold layers of its own to be trained
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
        criterion: Criterion[list[Tensor]] | Criterion[DenseOutputs] | Criterion[RegionOutputs] | None = None,
        match: Correspondence | None = None,
        reads: Needs | None = None,
    ) -> None:
        super().__init__()
        self.name, self.source, self.target = name, source, target
        self.adapter, self.weight = adapter or Identity(), weight
        self.criterion = cast(Criterion[Signal], MSE() if criterion is None else criterion)
        self.match = match or SamePlaces()
        self.needs = source.needs | target.needs | (reads or Needs())

    def forward(self, step: Step) -> dict[str, Tensor]:
        pair = self.match(self.source(step), self.target(step), step)
        own = self.adapter(pair)
        found = self.criterion(own, pair.target, step)
        return {
            _join(self.name, term): self.weight(found[term], pair.target, own, step.progress, constant)
            for term, constant in self.criterion.terms.items()
        }

    def describe(self) -> list[Row]:
        learner, imitated = f"{self.source}{self.match.source_at}", f"{self.target}{self.match.target_at}"
        return [
            Row(f"{imitated}{f', {term}' if term else ''}", learner, str(self.adapter), self.weight.text(constant))
            for term, constant in self.criterion.terms.items()
        ]

    def problems(self, step: Step) -> list[str]:
        return dead_target(self.target, tensors_of(self.target(step)))

    def share(self, part: float) -> None:
        self.weight.share(part)


def dead_target(place: object, target: list[Tensor]) -> list[str]:
    """A sentence, if what is read at `place` is the same everywhere; else nothing."""
    variance = float(mean_variance(target))
    if variance > DEAD or not has_spread(target):
        return []
    return [
        f"{place} is the same everywhere (variance {variance:.1g}), so there is nothing to imitate. Was the "
        "teacher trained? Choose another layer, or another teacher"
    ]


def _join(name: str, term: str) -> str:
    return f"{name}/{term}" if term else name
