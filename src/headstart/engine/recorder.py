"""What each step said, kept on the device and read in bulk: reading every step would stall an accelerator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from headstart.engine.reduce import mean_tensor
from headstart.errors import UserError
from headstart.structures import Objective

NORM = "grad_norm"
PATIENCE = 500


def is_detection(term: str) -> bool:
    """Whether a term is the student's own detection loss; the others are distillation."""
    return term.startswith("student/")


@dataclass
class Summary:
    """The means of one lane over the steps since the last reading; `terms` are summed losses, `monitors` are not."""

    terms: dict[str, float]
    monitors: dict[str, float]
    norm: float

    @property
    def detection(self) -> float:
        """The sum of the student's own losses."""
        return sum(value for name, value in self.terms.items() if is_detection(name))

    @property
    def distillation(self) -> float | None:
        """None where the lane has no such term."""
        values = [value for name, value in self.terms.items() if not is_detection(name)]
        return sum(values) if values else None


@dataclass
class Recorder:
    """Collects one row per step of one lane; `read` empties it."""

    lane: str
    rows: list[Tensor] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    monitors: list[str] = field(default_factory=list)
    zeros: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, objective: Objective, norm: Tensor) -> None:
        """One step: its terms and monitors (scalars, any device), and the gradient norm (scalar), not waited for.

        Raises ValueError if the terms have other names than those of the step before.
        """
        terms, monitors = list(objective.terms), list(objective.monitors)
        if not self.rows:
            self.terms, self.monitors = terms, monitors
        elif (self.terms, self.monitors) != (terms, monitors):
            raise ValueError(f"lane {self.lane}: the terms changed from {self.terms} to {terms} within a run")
        values = [*objective.terms.values(), *objective.monitors.values(), norm]
        self.rows.append(torch.stack([torch.as_tensor(v, device=norm.device).detach().float() for v in values]))

    def read(self, step: int) -> Summary | None:
        """The means since the last reading, over all processes; `step` is the one after the last that was added.

        Raises UserError if a term or the gradient was not finite, saying which and what to try.
        """
        if not self.rows:
            return None
        table = mean_tensor(torch.stack(self.rows)).cpu().double()
        self.rows = []
        names = [*self.terms, *self.monitors, NORM]
        self._demand_finite(table, names, step - len(table))
        self._count_zeros(table)
        means = dict(zip(names, table.mean(0).tolist()))
        return Summary(
            {name: means[name] for name in self.terms}, {name: means[name] for name in self.monitors}, means[NORM]
        )

    def _demand_finite(self, table: Tensor, names: list[str], first: int) -> None:
        counted = [i for i, name in enumerate(names) if name in self.terms or name == NORM]
        bad = (~table[:, counted].isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            name = names[counted[column]]
            what = "its gradient" if name == NORM else f"its term {name}"
            raise UserError(
                f"Lane {self.lane} diverged: {what} is {table[row, counted[column]]:.3g} at step {first + row}. Try a "
                "smaller lr (half), a longer warmup, gradient clipping (clip), or precision fp32. last.ckpt holds the "
                "last good state, if one was written."
            )

    def _count_zeros(self, table: Tensor) -> None:
        """Warns once about a distillation term that is exactly zero for PATIENCE steps on end."""
        for column, name in enumerate(self.terms):
            if is_detection(name):
                continue
            silent = (table[:, column] == 0).tolist()
            run = len(silent) - 1 - max((i for i, zero in enumerate(silent) if not zero), default=-1)
            before = self.zeros.get(name, 0)
            self.zeros[name] = run + (before if run == len(silent) else 0)
            if before < PATIENCE <= self.zeros[name]:
                self.warnings.append(
                    f"Lane {self.lane}: {name} has been exactly zero for {self.zeros[name]} steps. "
                    "Unless its schedule has ended, nothing is distilled by it."
                )

    def take_warnings(self) -> list[str]:
        """The warnings since the last time."""
        taken, self.warnings = self.warnings, []
        return taken


def readable(value: float | None) -> str:
    """A loss in four characters or so, for a line of progress."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
