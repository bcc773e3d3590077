"""The one place that knows Lightning: a module whose step trains every lane on the same batch."""

from __future__ import annotations

import random
from collections.abc import Sequence

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.batch import MultiScale
from headstart.engine.batches import Batch
from headstart.engine.clock import SharedCosts
from headstart.engine.lane import Lane, TrainingState
from headstart.engine.precision import Precision
from headstart.engine.recorder import Recorder
from headstart.engine.reduce import world_size
from headstart.engine.shares import due, gradient_shares, shared_parameters
from headstart.structures import Objective, Progress
from headstart.teachers import Frozen


class Lanes(pl.LightningModule):
    """Trains lanes side by side: same batch, same random numbers, one pass of each teacher, one optimiser each.

    `step` counts optimiser steps from the beginning of the run, also after a resume. The randomness of a step depends
    only on (seed, step, process), so that a lane ends with the same weights whichever lanes run beside it, and a
    resumed run with those of an unbroken one. The teachers are not submodules: they are moved to the device here and
    are in no state_dict.

    shares_every  in so many steps the share of each term in the gradient is measured once (`engine.shares`); 0: never
    first_part  after so many epochs the students are in the last part of their training (`Detector.last_part`); None:
                there is none
    multi_scale resizes the batch of every step; None: none is
    """

    def __init__(
        self,
        lanes: list[Lane],
        teachers: Sequence[Frozen],
        *,
        total: int,
        per_epoch: int,
        first_part: int | None = None,
        multi_scale: MultiScale | None = None,
        shares_every: int = 0,
        seed: int = 0,
        step: int = 0,
        precision: Precision | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lanes = lanes
        self.methods = nn.ModuleDict({lane.name: lane.method for lane in lanes})
        self.recorders = {lane.name: Recorder(lane.name) for lane in lanes}
        self.teachers = list(teachers)
        self.costs: list[SharedCosts] = []
        self.total = total
        self.per_epoch = per_epoch
        self.first_part = first_part
        self.multi_scale = multi_scale
        self.shares_every = shares_every
        self.seed = seed
        self.step = step
        self.precision = precision or Precision()

    @property
    def progress(self) -> Progress:
        """Where the next step stands."""
        return Progress(self.step, self.total, self.step // self.per_epoch, self.first_drop)

    @property
    def first_drop(self) -> int | None:
        """The same for all lanes."""
        return self.lanes[0].rate.first_drop

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [lane.optimizer for lane in self.lanes]

    def on_fit_start(self) -> None:
        self.costs = [SharedCosts(self.device) for _ in self.teachers]
        for teacher, costs in zip(self.teachers, self.costs):
            teacher.to(self.device)
            teacher.costs = costs
        for lane in self.lanes:
            lane.share(weights=True)
            if lane.ema is not None:
                lane.ema.to(self.device)

    def on_train_start(self) -> None:
        self.methods.train()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        images, targets = batch
        return images.to(device, non_blocking=True), [t.to(device, non_blocking=True) for t in targets]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One optimiser step of every lane on the same batch; the teachers remember nothing of it afterwards."""
        images, targets = batch
        progress = self.progress
        if self.multi_scale is not None:
            images, targets = self.multi_scale(images, targets, progress.step)
        last = self.first_part is not None and progress.epoch >= self.first_part
        for lane in self.lanes:
            lane.method.student.last_part(last)
            self._seed(progress.step)
            with lane.clock.running(self.device), self.precision.autocast(self.device):
                objective = lane.method(images, targets, progress)
            shares = self._shares(lane, objective, progress)  # a measurement, so not in the lane's time
            with lane.clock.running(self.device):
                self.manual_backward(objective.total)
                norm = lane.update(progress.step)
            for costs in self.costs:
                costs.settle(lane.clock)
            self.recorders[lane.name].add(objective, norm, shares)
        for teacher, costs in zip(self.teachers, self.costs):
            costs.clear()
            teacher.clear()  # its features would take memory until the next batch is there
        self.step += 1

    def _shares(self, lane: Lane, objective: Objective, progress: Progress) -> dict[str, Tensor]:
        """Of the lane's terms in its gradient; {} in most steps."""
        if not due(lane.method, progress.step, progress.total, self.shares_every):
            return {}
        return gradient_shares(objective.terms, shared_parameters(lane.method.student))

    def state(self) -> TrainingState:
        """Everything that training changes; the rest follows from the run's settings."""
        return {"step": self.step, "lanes": {lane.name: lane.state_dict() for lane in self.lanes}}

    def load_state(self, state: TrainingState) -> None:
        """Continues where `state` was taken; the lanes must be those of the same run."""
        self.step = state["step"]
        for lane in self.lanes:
            lane.load_state_dict(state["lanes"][lane.name])

    def _seed(self, step: int) -> None:
        rank = self.global_rank if world_size() > 1 else 0
        seed = ((self.seed * 1_000_003 + step) * 1_009 + rank) % 2**63
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
