"""One student being trained: its method, optimiser, rate and average."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor

from headstart.engine.clock import Stopwatch
from headstart.engine.ema import ModelEMA
from headstart.engine.optim import clip_gradients, trainable
from headstart.engine.reduce import mean_gradients, share_tensors, world_size
from headstart.engine.schedule import LearningRate
from headstart.methods import Method


class LaneState(TypedDict):
    """What training changes of a lane, as last.ckpt keeps it; `seconds` were spent on it so far."""

    method: dict[str, Tensor]
    optimizer: dict[str, object]
    ema: dict[str, Tensor] | None
    seconds: float


class TrainingState(TypedDict):
    """Everything that training changes: the optimiser steps done, and the lanes by name."""

    step: int
    lanes: dict[str, LaneState]


class Lane:
    """What one lane of a run consists of. After its backward pass: mean over processes, clip, step, average."""

    def __init__(
        self,
        name: str,
        method: Method,
        optimizer: torch.optim.Optimizer,
        rate: LearningRate,
        *,
        clip: float | None = 20.0,
        ema: ModelEMA | None = None,
    ) -> None:
        self.name = name
        self.method = method
        self.optimizer = optimizer
        self.rate = rate
        self.clip = clip
        self.ema = ema
        self.parameters = list(trainable(method).values())
        self.clock = Stopwatch()

    def update(self, step: int) -> Tensor:
        """After a backward pass: one optimiser step. Gives the L2 norm of the gradient before clipping, a
        scalar tensor that nobody has waited for.

        What rests in this step (`Method.resting`) has no gradient, in no process, and so is not changed at all: neither
        momentum nor weight decay touch it.
        """
        resting = {id(parameter) for parameter in self.method.resting(step, self.rate.total)}
        mean_gradients([parameter for parameter in self.parameters if id(parameter) not in resting])
        self.share()  # each process has seen other images: running statistics are those of process 0
        norm = clip_gradients(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(step)
        return norm

    def share(self, *, weights: bool = False) -> None:
        """Gives every process the buffers, or everything, of process 0."""
        if world_size() > 1:
            own = self.method.state_dict().values() if weights else self.method.buffers()
            share_tensors(list(own))

    def state_dict(self) -> LaneState:
        """What training changes; not copies."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "seconds": self.clock.seconds,
        }

    def load_state_dict(self, state: LaneState) -> None:
        """Raises RuntimeError for the state of another method, ValueError for that of another optimiser."""
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None and state["ema"] is not None:
            self.ema.load_state_dict(state["ema"])
        self.clock = Stopwatch(state["seconds"])
