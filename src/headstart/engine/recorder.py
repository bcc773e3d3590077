"""What each step said, kept on the device and read in bulk: reading every step would stall an accelerator."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    """The means of one lane over the steps since the last reading; `terms` are summed losses, `monitors` are not.

    shares  of the terms in the gradient, if they were measured since
    """

    terms: dict[str, float]
    monitors: dict[str, float]
    norm: float
    shares: dict[str, float] = field(default_factory=dict)

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
    """Collects one row per step of one lane; `read` empties it. `terms` are all that there were since the run began."""

    lane: str
    rows: list[tuple[list[str], Tensor]] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    monitors: list[str] = field(default_factory=list)
    shares: list[Mapping[str, Tensor]] = field(default_factory=list)
    zeros: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, objective: Objective, norm: Tensor, shares: Mapping[str, Tensor] | None = None) -> None:
        """One step: its terms and monitors (scalars, any device), and the gradient norm (scalar), not waited for.

        shares  of the terms in the gradient, in steps in which they were measured (`engine.shares`)

        A distillation term that rests in a step is absent from it. Raises ValueError if the student's own losses or the
        monitors have other names than in the step before.
        """
        terms, monitors = list(objective.terms), list(objective.monitors)
        own = [[name for name in names if is_detection(name)] for names in (terms, self.terms)]
        if self.terms and (own[0] != own[1] or (self.rows and self.monitors != monitors)):
            raise ValueError(f"lane {self.lane}: the terms changed from {self.terms} to {terms} within a run")
        self.terms += [name for name in terms if name not in self.terms]
        self.monitors = monitors
        values = [*objective.terms.values(), *objective.monitors.values(), norm]
        row = torch.stack([torch.as_tensor(v, device=norm.device).detach().float() for v in values])
        self.rows.append((terms, row))
        if shares:
            self.shares.append(shares)

    def read(self, step: int) -> Summary | None:
        """The means since the last reading, over all processes; `step` is the one after the last that was added.

        In its mean a term that rests counts as 0. Raises UserError if a term or the gradient was not finite, saying
        which and what to try.
        """
        if not self.rows:
            return None
        names = [*self.terms, *self.monitors, NORM]
        table, present = self._table(names)
        table = mean_tensor(table).cpu().double()
        self.rows = []
        self._demand_finite(table, names, step - len(table))
        self._count_zeros(table, present)
        means = dict(zip(names, table.mean(0).tolist()))
        return Summary(
            {name: means[name] for name in self.terms},
            {name: means[name] for name in self.monitors},
            means[NORM],
            self._read_shares(),
        )

    def _table(self, names: list[str]) -> tuple[Tensor, list[list[bool]]]:
        """A row per step and a column per name, (S, N), and which of its entries the steps had."""
        table = self.rows[0][1].new_zeros(len(self.rows), len(names))
        present = []
        for number, (terms, row) in enumerate(self.rows):
            own = {*terms, *names[len(self.terms) :]}
            present.append([name in own for name in names])
            if len(row) == len(names) and terms == self.terms:
                table[number] = row
            else:
                columns = [names.index(name) for name in (*terms, *names[len(self.terms) :])]
                table[number, columns] = row
        return table, present

    def _read_shares(self) -> dict[str, float]:
        """The means of those that were measured since the last reading; {} where none were."""
        measured, self.shares = self.shares, []
        names = list(dict.fromkeys(name for shares in measured for name in shares))
        found = {name: torch.stack([shares[name] for shares in measured if name in shares]).mean() for name in names}
        return dict(zip(names, mean_tensor(torch.stack(list(found.values()))).tolist())) if found else {}

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

    def _count_zeros(self, table: Tensor, present: list[list[bool]]) -> None:
        """Warns once about a distillation term that is exactly zero for PATIENCE of its steps on end."""
        for column, name in enumerate(self.terms):
            if is_detection(name):
                continue
            silent = [value == 0 for value, own in zip(table[:, column].tolist(), present) if own[column]]
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
