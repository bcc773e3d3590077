"""An exponential moving average of a student's state."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

RAMP = 2000
"""Steps in which an exponential average comes within 1/e of its decay."""


class ModelEMA:
    """A shadow of a module's parameters and buffers that follows them slowly; the module itself is not copied.

    After update number t (0-based) the shadow is d * shadow + (1 - d) * module with d = min(decay, (1 + t) / (10 + t)),
    so that the first steps are forgotten soon. With `exponential` d = decay * (1 - exp(-(1 + t) / 2000)), as YOLOX and
    RTMDet: about the last 1 / (1 - d) steps count, 3 of them after 2000 steps, 150 after 10 000, 5000 in the end.
    Buffers follow as parameters do, integer ones are copied. The state holds tensors only.
    """

    def __init__(self, module: nn.Module, decay: float = 0.9998, *, exponential: bool = False) -> None:
        self.module = module
        self.decay, self.exponential = decay, exponential
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follows the module; `step` is the number of this update, 0-based."""
        weight = 1 - self.decay_at(step)
        floats: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                floats[0].append(self.shadow[name])
                floats[1].append(value)
            else:
                self.shadow[name].copy_(value)
        torch._foreach_lerp_(floats[0], floats[1], weight)

    def decay_at(self, step: int) -> float:
        """d of update number `step`, 0-based."""
        if self.exponential:
            return self.decay * -math.expm1(-(1 + step) / RAMP)
        return min(self.decay, (1 + step) / (10 + step))

    @contextmanager
    def applied(self) -> Generator[None]:
        """The module has the averaged weights inside, and its own, to the bit, afterwards."""
        own = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.write()
        try:
            yield
        finally:
            self._write(own)

    def write(self) -> None:
        """Gives the module the averaged weights for good."""
        self._write(self.shadow)

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> tensor, shaped as the module's own; not copies."""
        return dict(self.shadow)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over the values. Raises KeyError for a name that is missing, RuntimeError for another shape."""
        for name, value in self.shadow.items():
            value.copy_(state[name])

    def to(self, device: torch.device) -> ModelEMA:
        """Moves the shadow; gives the average itself."""
        self.shadow = {name: value.to(device) for name, value in self.shadow.items()}
        return self

    @torch.no_grad()
    def _write(self, state: dict[str, Tensor]) -> None:
        for name, value in self.module.state_dict().items():
            value.copy_(state[name])
