"""When a method guides: in every n-th step, and until which share of the run. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import Field

from headstart.options import Count

Until = Annotated[float, Field(gt=0, le=1)]
"""A share of a run: more than nothing of it."""


@dataclass(frozen=True)
class Pace:
    """What every method that distils can be told besides its own options.

    every  n: it guides in every n-th step (steps 0, n, 2n ... of the run), with its terms multiplied by n, so that
           their mean is kept. In the steps between it has no terms, and neither its teacher nor its assistants are run
    until  the share of the run in which it guides: with 0.7 it stops after 70 % of the steps, for good
    """

    every: Count = 1
    until: Until = 1.0

    def guides(self, step: int, total: int) -> bool:
        """Whether there are terms in this 0-based step of a run of `total` steps; in step 0 there always are."""
        return step % self.every == 0 and (self.until == 1 or step < self.steps(total))

    def steps(self, total: int) -> int:
        """How many of the run's steps, from the first on, come before it stops."""
        return max(1, round(self.until * total))

    def latest(self, step: int, total: int) -> int:
        """The last step up to `step` in which it guides."""
        last = step if self.until == 1 else min(step, self.steps(total) - 1)
        return last - last % self.every

    def text(self) -> str:
        """For the pairing table, after a weight; empty where it guides always."""
        often = f" x {self.every} in every {_ordinal(self.every)} step" if self.every > 1 else ""
        return often + (f", until {100 * self.until:g} % of the run" if self.until < 1 else "")


NAMES = tuple(field.name for field in fields(Pace))
"""Of the options that all methods have in common."""


def take_pace(options: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """The options of `Pace` among those of a method, and the rest."""
    own = {name: value for name, value in options.items() if name in NAMES}
    return own, {name: value for name, value in options.items() if name not in NAMES}


def together(paces: Iterable[Pace]) -> int:
    """n: in every n-th step all of them guide, until the first of them stops."""
    return math.lcm(*(pace.every for pace in paces))


def latest_together(paces: Sequence[Pace], step: int, total: int) -> int:
    """The last step up to `step` in which all of them guide."""
    last = min(pace.latest(step, total) for pace in paces)
    return last - last % together(paces)


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"
