"""All-stage guidance as one guidance: links in groups, weighted group by group, and by where training stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from headstart.methods.allstage.macro import MacroWeights
from headstart.methods.guidance import Guidance, Row
from headstart.methods.imitation import Imitation
from headstart.methods.step import Needs, Step
from headstart.methods.weight import active_until
from headstart.structures import Progress

SHORTEST_WARMUP = 500
"""Steps; of a long run the warm-up is a fiftieth, of a short one at most a tenth."""


@dataclass(frozen=True)
class Course:
    """A factor from 0 to 1 of where training stands: nothing, then a straight rise, 1, and a cosine down to `final`.

    warmup  steps of the rise; None: 500, or a fiftieth of the run if that is more, but at most a tenth of it
    fade    the part of the run after which it falls; 1: never
    final   what it has fallen to at the end
    stop    the last step at which it is not 0; None: no end
    """

    warmup: int | None = None
    fade: float = 1.0
    final: float = 0.1
    stop: int | None = None

    def __call__(self, progress: Progress, delay: int) -> float:
        """`delay`: the first steps, in which it is 0."""
        step, total = progress.step, progress.total
        if step < delay:
            return 0.0
        warmup = min(max(SHORTEST_WARMUP, total // 50), total // 10) if self.warmup is None else self.warmup
        rise = min((step - delay) / warmup, 1.0) if warmup else 1.0
        return rise * self._fall(step / max(total, 1)) * active_until(progress, self.stop)

    def _fall(self, done: float) -> float:
        if done <= self.fade:
            return 1.0
        part = min((done - self.fade) / (1 - self.fade), 1.0)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * part)) / 2


class AllStage(Guidance):
    """course x weight of the group x (mean or sum of its links), a term `NAME/GROUP` for each group.

    links   by group; their own weights are 1
    assist  losses of assistants that links read, which are trained beside the student: terms of their own
    reduce  how the links of a group are put together
    given   whether the weights were given, so that they are not shared out
    left    what this pair cannot have, and why: rows of the pairing table
    """

    def __init__(
        self,
        name: str,
        links: dict[str, list[Imitation]],
        macro: MacroWeights,
        course: Course,
        *,
        assist: Sequence[Guidance] = (),
        reduce: Literal["mean", "sum"] = "mean",
        given: bool = False,
        left: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        self.name, self.macro, self.course, self.reduce, self.given = name, macro, course, reduce, given
        self.left = list(left)
        self.assist = nn.ModuleList(assist)
        self.links = nn.ModuleDict({group: nn.ModuleList(own) for group, own in links.items()})
        self.needs = Needs()
        for part in (*self._every(), *assist):
            self.needs = self.needs | part.needs
        self._told = False

    def forward(self, step: Step) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for assistant in self.assist:
            terms |= assistant(step)
        losses = {group: self._group(group, step) for group in self.links}
        detection = torch.stack([loss.float() for loss in step.losses.values()]).sum()
        weighted = self.macro(losses, detection, step.progress, step.features.pyramid)
        factor = self.course(step.progress, self.macro.delay(step.progress.total))
        return terms | {f"{self.name}/{group}": value * factor for group, value in weighted.items()}

    def describe(self) -> list[Row]:
        rows = [row for one in self.assist for row in cast(Guidance, one).describe()]
        for group in self.links:
            for link in self._of(group):
                rows += [
                    Row(r.imitated, r.learner, r.through, f"{group}: {self.macro.text(group)}") for r in link.describe()
                ]
        return rows + [Row("-", f"{what}: left out", why, "-") for what, why in self.left]

    def problems(self, step: Step) -> list[str]:
        return [problem for link in self._every() for problem in link.problems(step)]

    def share(self, part: float) -> None:
        if not self.given:
            self.macro.share(part)

    def monitors(self, step: Step) -> dict[str, Tensor]:
        """The weight of every group, without the course."""
        return {f"{self.name}/{group}/weight": w for group, w in zip(self.links, self.macro.weights.unbind())}

    def news(self, progress: Progress) -> list[str]:
        """Once, when the weights have been calibrated: what they are."""
        delay = self.macro.delay(progress.total)
        if self._told or not delay or progress.step < delay:
            return []
        self._told = True
        found = ", ".join(f"{group} {w:.3g}" for group, w in zip(self.links, self.macro.weights.tolist()))
        return [f"{self.name}: calibrated weights: {found}"]

    def _group(self, group: str, step: Step) -> Tensor:
        found = [torch.stack([value.float() for value in link(step).values()]).sum() for link in self._of(group)]
        total = torch.stack(found).sum()
        return total / len(found) if self.reduce == "mean" else total

    def _of(self, group: str) -> list[Imitation]:
        return [cast(Imitation, link) for link in cast(nn.ModuleList, self.links[group])]

    def _every(self) -> list[Imitation]:
        return [link for group in self.links for link in self._of(group)]
