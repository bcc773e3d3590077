"""What a run says while it goes on: a live table on a terminal, one line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from headstart.engine.recorder import Summary, readable
from headstart.evaluation.metrics import Metrics
from headstart.terminal import printable, say

Print = Callable[[str], None]
"""Where the messages of a run go, one call for each."""

LINE_EVERY = 30.0
"""Seconds between lines where there is no terminal."""


@dataclass
class LaneStatus:
    """The last things known of a lane."""

    summary: Summary | None = None
    lr: float = 0.0
    ap: float | None = None


class Display:
    """Shows the progress of `lanes` over `total` steps; silent in all processes but the first.

    evaluations  the steps after which all lanes are evaluated
    """

    def __init__(
        self,
        lanes: list[str],
        total: int,
        per_epoch: int,
        images_per_step: int,
        *,
        evaluations: Sequence[int] = (),
        silent: bool = False,
    ) -> None:
        self.lanes = {name: LaneStatus() for name in lanes}
        self.total, self.per_epoch, self.images_per_step = total, per_epoch, images_per_step
        self.silent = silent
        self.stream: TextIO = sys.stdout
        self.console = Console(file=self.stream)
        self.live: Live | None = None
        self.step = self.first = 0
        self.seconds = 0.0
        self.evaluations = list(evaluations)
        self._evaluation_times: list[float] = []
        self.note = ""
        self._last_line = 0.0
        self._running_since: float | None = None

    def start(self, step: int) -> None:
        """Begins at optimiser step `step`: with the live table, where there is a terminal."""
        self.step = self.first = step
        if self.console.is_terminal and not self.silent:
            self.live = Live(console=self.console, auto_refresh=False, transient=False)
            self.live.start()
        self.resume_clock()

    def stop(self) -> None:
        """Ends the live table, with its last state left on the terminal."""
        self.pause_clock()
        if self.live is not None:
            self.live.update(self._table(), refresh=True)
            self.live.stop()
            self.live = None

    def pause_clock(self) -> None:
        """Evaluation is not counted in the speed."""
        if self._running_since is not None:
            self.seconds += time.monotonic() - self._running_since
            self._running_since = None

    def resume_clock(self) -> None:
        """The opposite of `pause_clock`."""
        self._running_since = time.monotonic()

    def show(self, step: int, summaries: dict[str, Summary], rates: dict[str, float]) -> None:
        """The newest readings."""
        self.step = step
        for name, summary in summaries.items():
            self.lanes[name].summary, self.lanes[name].lr = summary, rates[name]
        if self.live is not None:
            self.live.update(self._table(), refresh=True)
        elif time.monotonic() - self._last_line >= LINE_EVERY or step == self.total:
            self._last_line = time.monotonic()
            self.say(self._line())

    def begin_evaluation(self, lane: str, images: int) -> None:
        """An evaluation of `lane` on so many images begins: on a terminal the table says so."""
        if self.live is None:
            self.say(f"evaluating {lane}: {images} images")

    def evaluated(self, seconds: float) -> None:
        """An evaluation of all lanes took so long, with the writing of their weights."""
        self._evaluation_times.append(seconds)

    def evaluating(self, lane: str, done: int, total: int | None) -> None:
        """An evaluation of `lane` has done so many batches of `total`, None where that is not known."""
        self.note = f"evaluating {lane}: {done}{f' of {total}' if total else ''} batches" if done != total else ""
        if self.live is not None:
            self.live.update(self._table(), refresh=True)

    def scored(self, lane: str, epoch: int, metrics: Metrics) -> None:
        """A lane was evaluated."""
        self.lanes[lane].ap = metrics.get("AP")
        shown = ", ".join(f"{k} {metrics[k]:.1f}" for k in ("AP", "AP50", "AP75") if isinstance(metrics.get(k), float))
        self.say(f"epoch {epoch}  {lane}: {shown or 'no AP (nothing to find in the validation images)'}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.silent:
            return
        if self.live is not None:
            self.live.console.print(printable(text), highlight=False, markup=False)
        else:
            say(text, stream=self.stream)

    @property
    def speed(self) -> float:
        """Steps per second of training since the start."""
        running = time.monotonic() - self._running_since if self._running_since is not None else 0.0
        return (self.step - self.first) / max(self.seconds + running, 1e-9)

    def _left(self) -> str:
        """The time to the end, evaluations included; until one has been timed, how many there are."""
        if self.step <= self.first:
            return "-"
        seconds = (self.total - self.step) / self.speed
        waiting = sum(step > self.step for step in self.evaluations)
        if not waiting:
            return duration(seconds)
        if not self._evaluation_times:
            return f"{duration(seconds)} and {waiting} evaluation{'s' * (waiting > 1)}"
        return duration(seconds + waiting * sum(self._evaluation_times) / len(self._evaluation_times))

    def _head(self) -> str:
        speed, left = self.speed, self._left()
        return (
            f"step {self.step}/{self.total}  epoch {self.step / self.per_epoch:.1f}  "
            f"{speed * self.images_per_step:.1f} images/s  left {left}"
        )

    def _line(self) -> str:
        parts = []
        for name, status in self.lanes.items():
            if status.summary is not None:
                loss, distillation = status.summary.detection, status.summary.distillation
                ending = "" if distillation is None else f"  distillation {readable(distillation)}"
                parts.append(f"{name}: detection {readable(loss)}{ending}  lr {status.lr:.2g}")
        return "  |  ".join([self._head(), *parts])

    def _table(self) -> Table:
        table = Table(
            title=self._head(),
            title_justify="left",
            title_style="bold",
            caption=self.note or None,
            box=None,
            pad_edge=False,
        )
        table.add_column("lane")
        for column in ("detection loss", "distillation", "lr", "gradient", "last AP"):
            table.add_column(column, justify="right")
        for name, status in self.lanes.items():
            s = status.summary
            ap = "-" if status.ap is None else f"{status.ap:.1f}"
            if s is None:
                table.add_row(printable(name), "", "", "", "", ap)
            else:
                losses = readable(s.detection), readable(s.distillation)
                table.add_row(printable(name), *losses, f"{status.lr:.2g}", readable(s.norm), ap)
        return table


def duration(seconds: float) -> str:
    """3:07, 1:02:33."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
