"""What happens between steps: reading the losses, saving, evaluating, stopping."""

from __future__ import annotations

import time
from typing import Protocol

import lightning.pytorch as pl

from headstart.config import Run
from headstart.detectors.weights.native import save_detector
from headstart.engine.display import Display
from headstart.engine.evaluator import Evaluator, ema_weights
from headstart.engine.folder import BEST, STUDENT, RunFolder
from headstart.engine.history import History
from headstart.engine.interrupt import Interrupt, Interrupted
from headstart.engine.lane import Lane
from headstart.engine.metrics import MetricsFile
from headstart.engine.module import Lanes
from headstart.engine.recorder import Summary, is_detection
from headstart.engine.reduce import any_rank
from headstart.engine.resume import save_checkpoint
from headstart.recipe import plain_run


class ScalarWriter(Protocol):
    """What is used of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> None: ...

    def close(self) -> None: ...


class RunCallback(pl.Callback):
    """Reads every `log_every` steps, saves every `save_every`, evaluates every `eval_every` epochs and at the end.

    evaluator is None in a run without evaluation; folder, metrics and writer are None in all processes but the first,
    where nothing is written. `saved` is the last step whose state is in last.ckpt.
    """

    def __init__(
        self,
        run: Run,
        module: Lanes,
        history: History,
        display: Display,
        interrupt: Interrupt,
        *,
        evaluator: Evaluator | None,
        folder: RunFolder | None,
        metrics: MetricsFile | None,
        writer: ScalarWriter | None = None,
    ) -> None:
        self.run, self.module, self.history, self.display, self.interrupt = run, module, history, display, interrupt
        self.evaluator, self.folder, self.metrics, self.writer = evaluator, folder, metrics, writer
        self.saved = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interrupt.install()  # Lightning has put its own handler before ours since the run began
        self.display.start(self.module.step)
        self.evaluate_if_due()  # of a run that was stopped during an evaluation
        trainer.should_stop = self.history.finished

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        train, step = self.run.train, self.module.step
        at_rest = step % self.module.per_epoch == 0 or step == self.module.total
        saving = at_rest or step % train.checkpoint_every == 0
        reading = saving or step % train.log_every == 0 or step == self.display.first + 1
        stopping = False
        if reading:
            self.read()
            stopping = any_rank(self.interrupt.requested, self.module.device)
        elif trainer.world_size == 1:
            stopping = self.interrupt.requested
        if saving or stopping:
            self.read()
            self.save()
        if stopping:
            raise Interrupted
        if at_rest:
            self.evaluate_if_due()
            trainer.should_stop = self.history.finished

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.close()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live table and TensorBoard's file."""
        self.display.stop()
        if self.writer is not None:
            self.writer.close()

    def read(self) -> None:
        """Fetches what the steps said since the last time; raises UserError if a lane has diverged."""
        summaries: dict[str, Summary] = {}
        rates: dict[str, float] = {}
        module = self.module
        for lane in module.lanes:
            recorder = module.recorders[lane.name]
            summary = recorder.read(module.step)
            for warning in recorder.take_warnings():
                self.display.say(f"Warning: {warning}")
            for sentence in lane.method.news(module.progress):
                self.display.say(f"Lane {lane.name}: {sentence}")
            if summary is not None:
                summaries[lane.name], rates[lane.name] = summary, lane.rate(module.step - 1)
                self.history.terms[lane.name] = summary.terms
                self._log(lane, summary)
        if summaries:
            self.display.show(module.step, summaries, rates)

    def save(self) -> None:
        """Writes last.ckpt."""
        if self.folder is not None:
            save_checkpoint(self.folder.last, self.module.state(), plain_run(self.run), self.history.state())
        self.saved = self.module.step

    def evaluate_if_due(self) -> None:
        """Scores and saves every lane that has no score for this step yet, if this is a step to evaluate at."""
        module, every = self.module, self.run.train.eval_every
        step, epoch = module.step, -(-module.step // module.per_epoch)
        at_end = step == module.total
        due = at_end or (every and step % (module.per_epoch * every) == 0)
        if not step or not due:
            return
        self.display.pause_clock()
        started = time.monotonic()
        for lane in module.lanes:
            if self.evaluator is not None and not self.history.scored(lane.name, step):
                self._score(self.evaluator, lane, step, epoch)
            self._keep_weights(lane, step, module.total)
        for teacher in module.teachers:
            teacher.clear()
        self.display.evaluated(time.monotonic() - started)
        self.history.finished = at_end or self._given_up()
        self.save()
        self.display.resume_clock()

    def _given_up(self) -> bool:
        """Whether every lane has gone `patience` evaluations without a higher AP; every process has to ask.

        Lanes are compared at equal steps, so none of them ends before the others.
        """
        patience, module = self.run.train.patience, self.module
        if patience is None or self.evaluator is None:
            return False
        stale = all(self.history.stale(lane.name) >= patience for lane in module.lanes)
        if any_rank(stale, module.device):
            self.display.say(
                f"Stopped early, after step {module.step} of {module.total}: no lane's AP has risen for {patience} "
                f"evaluation{'s' * (patience > 1)} (train.patience)."
            )
            return True
        return False

    def _score(self, evaluator: Evaluator, lane: Lane, step: int, epoch: int) -> None:
        self.display.begin_evaluation(lane.name, len(evaluator.scorer.dataset.ids))
        self.interrupt.immediate = True  # the state at this step is on disk already
        metrics = evaluator.score_lane(lane, lambda done, total: self.display.evaluating(lane.name, done, total))
        self.interrupt.immediate = False
        self.history.scores.setdefault(lane.name, []).append({"step": step, "epoch": epoch, "metrics": metrics})
        self.display.scored(lane.name, epoch, metrics)
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        if self.metrics is not None:
            self.metrics.append({"step": step, "epoch": epoch, "lane": lane.name, **numbers})
        self._write(lane.name, numbers, step)

    def _keep_weights(self, lane: Lane, step: int, total: int) -> None:
        if self.folder is None:
            return
        best = self.history.best(lane.name)
        last = self.history.scores.get(lane.name, [])[-1:]
        short, long = self.run.data.sides
        notes = {
            "lane": lane.name,
            "step": step,
            "steps": total,
            "metrics": last[0]["metrics"] if last else {},
            "size": {
                "short": short if isinstance(short, int) else short[1],
                "long": long,
                "square": self.run.data.square,
            },
        }
        with ema_weights(lane):
            save_detector(lane.method.student, self.folder.of(lane.name) / STUDENT, **notes)
            if best is not None and best["step"] == step:
                save_detector(lane.method.student, self.folder.of(lane.name) / BEST, **notes)

    def _log(self, lane: Lane, summary: Summary) -> None:
        step = self.module.step
        row: dict[str, object] = {"step": step, "epoch": round(step / self.module.per_epoch, 4), "lane": lane.name}
        row |= {"lr": lane.rate(step - 1), "detection": summary.detection, "distillation": summary.distillation}
        row |= {"grad_norm": summary.norm, **summary.terms, **summary.monitors}
        row |= {f"share/{name}": value for name, value in summary.shares.items()}
        if self.metrics is not None:
            self.metrics.append(row)
        values = {k: v for k, v in row.items() if isinstance(v, float) and k != "epoch"}
        self._write(lane.name, {f"loss/{k}" if is_detection(k) else k: v for k, v in values.items()}, step)

    def _write(self, lane: str, values: dict[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{lane}/{name}", value, step)
