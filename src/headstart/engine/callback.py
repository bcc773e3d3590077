"""What happens between steps: reading the losses, saving, evaluating, stopping."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl

from headstart.config import Data
from headstart.detectors.weights.native import save_detector
from headstart.engine.display import Display
from headstart.engine.folder import BEST, STUDENT, RunFolder
from headstart.engine.interrupt import Interrupt, Interrupted
from headstart.engine.lane import Lane
from headstart.engine.metrics import MetricsFile
from headstart.engine.module import Lanes
from headstart.engine.recorder import Summary, is_detection
from headstart.engine.reduce import any_rank
from headstart.engine.resume import save_checkpoint
from headstart.engine.evaluator import Evaluator, ema_weights


@dataclass
class History:
    """What was measured so far; plain values, kept in the checkpoint.

    data      what the run was trained on: compared when it is continued
    teachers  name -> its metrics
    scores    lane -> evaluations in order, each {"step", "epoch", "metrics"}
    terms     lane -> the last reading of its losses
    finished  whether the run has come to its end
    """

    data: dict[str, Any] = field(default_factory=dict)
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    terms: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: bool = False

    def best(self, lane: str) -> dict[str, Any] | None:
        """The evaluation with the highest AP."""
        defined = [s for s in self.scores.get(lane, []) if s["metrics"]["AP"] is not None]
        return max(defined, key=lambda s: s["metrics"]["AP"], default=None)

    def scored(self, lane: str, step: int) -> bool:
        return any(score["step"] == step for score in self.scores.get(lane, []))


class RunCallback(pl.Callback):
    """Reads every `log_every` steps, saves every `save_every`, evaluates every `eval_every` epochs and at the end.

    board is None in a run without evaluation; folder and metrics are None in all processes but the first, where
    nothing is written.
    """

    def __init__(
        self,
        journal: History,
        display: Display,
        interrupt: Interrupt,
        *,
        settings: dict[str, Any],
        board: Evaluator | None,
        folder: RunFolder | None,
        metrics: MetricsFile | None,
        writer: Any = None,
    ) -> None:
        self.journal, self.display, self.interrupt, self.settings = journal, display, interrupt, settings
        self.board, self.folder, self.metrics, self.writer = board, folder, metrics, writer
        train = settings["train"]
        self.log_every, self.save_every = train["log_every"], train["checkpoint_every"]
        self.eval_every = train["eval_every"]
        self.saved = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.interrupt.install()  # Lightning has put its own handler before ours since the run began
        self.display.start(pl_module.step)
        self.evaluate_if_due(pl_module)  # of a run that was stopped during an evaluation

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = pl_module.step
        at_rest = step % pl_module.per_epoch == 0 or step == pl_module.total
        saving = at_rest or step % self.save_every == 0
        reading = saving or step % self.log_every == 0 or step == self.display.first + 1
        stopping = False
        if reading:
            self.read(pl_module)
            stopping = any_rank(self.interrupt.requested, pl_module.device)
        elif trainer.world_size == 1:
            stopping = self.interrupt.requested
        if saving or stopping:
            self.read(pl_module)
            self.save(pl_module)
        if stopping:
            raise Interrupted
        if at_rest:
            self.evaluate_if_due(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.close()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.close()

    def close(self) -> None:
        self.display.stop()
        if self.writer is not None:
            self.writer.close()

    def read(self, module: Lanes) -> None:
        """Fetches what the steps said since the last time; raises UserError if a lane has diverged."""
        summaries: dict[str, Summary] = {}
        rates: dict[str, float] = {}
        for lane in module.lanes:
            recorder = module.recorders[lane.name]
            summary = recorder.read(module.step)
            for warning in recorder.take_warnings():
                self.display.say(f"Warning: {warning}")
            if summary is not None:
                summaries[lane.name], rates[lane.name] = summary, lane.rate(module.step - 1)
                self.journal.terms[lane.name] = summary.terms
                self._log(module, lane, summary)
        if summaries:
            self.display.show(module.step, summaries, rates)

    def save(self, module: Lanes) -> None:
        if self.folder is not None:
            save_checkpoint(self.folder.last, module.state(), self.settings, vars(self.journal))
        self.saved = module.step

    def evaluate_if_due(self, module: Lanes) -> None:
        """Scores and saves every lane that has no score for this step yet, if this is a step to evaluate at."""
        step, epoch = module.step, -(-module.step // module.per_epoch)
        at_end = step == module.total
        due = at_end or (self.eval_every and step % (module.per_epoch * self.eval_every) == 0)
        if not step or not due:
            return
        self.display.pause_clock()
        for teacher in module.teachers:
            teacher.forget()
        for lane in module.lanes:
            if self.board is not None and not self.journal.scored(lane.name, step):
                self._score(self.board, lane, step, epoch)
            self._keep_weights(lane, step, module.total)
        self.journal.finished = at_end
        self.save(module)
        self.display.resume_clock()

    def _score(self, board: Evaluator, lane: Lane, step: int, epoch: int) -> None:
        self.interrupt.immediate = True  # the state at this step is on disk already
        metrics = board.score_lane(lane, lambda done, total: self.display.evaluating(lane.name, done, total))
        self.interrupt.immediate = False
        self.journal.scores.setdefault(lane.name, []).append({"step": step, "epoch": epoch, "metrics": metrics})
        self.display.scored(lane.name, epoch, metrics)
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        if self.metrics is not None:
            self.metrics.append({"step": step, "epoch": epoch, "lane": lane.name, **numbers})
        self._write(lane.name, numbers, step)

    def _keep_weights(self, lane: Lane, step: int, total: int) -> None:
        if self.folder is None:
            return
        best = self.journal.best(lane.name)
        last = self.journal.scores.get(lane.name, [])[-1:]
        short, long = Data.model_validate(self.settings["data"]).sides
        notes = {
            "lane": lane.name,
            "step": step,
            "steps": total,
            "metrics": last[0]["metrics"] if last else {},
            "size": {"short": short if isinstance(short, int) else short[1], "long": long},
        }
        with ema_weights(lane):
            save_detector(lane.method.student, self.folder.of(lane.name) / STUDENT, **notes)
            if best is not None and best["step"] == step:
                save_detector(lane.method.student, self.folder.of(lane.name) / BEST, **notes)

    def _log(self, module: Lanes, lane: Lane, summary: Summary) -> None:
        step = module.step
        row: dict[str, Any] = {"step": step, "epoch": round(step / module.per_epoch, 4), "lane": lane.name}
        row |= {"lr": lane.rate(step - 1), "detection": summary.detection, "distillation": summary.distillation}
        row |= {"grad_norm": summary.norm, **summary.terms, **summary.monitors}
        if self.metrics is not None:
            self.metrics.append(row)
        values = {k: v for k, v in row.items() if isinstance(v, float) and k != "epoch"}
        self._write(lane.name, {f"loss/{k}" if is_detection(k) else k: v for k, v in values.items()}, step)

    def _write(self, lane: str, values: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{lane}/{name}", value, step)
