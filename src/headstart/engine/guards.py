"""Before training, one real batch proves that every lane does what it says; otherwise the run does not start."""

from __future__ import annotations

import copy
import random
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from headstart.engine.batches import Batch
from headstart.engine.optim import trainable
from headstart.engine.precision import Precision
from headstart.engine.recorder import is_detection
from headstart.errors import UserError
from headstart.methods import Method
from headstart.pace import Pace
from headstart.structures import Objective, Progress
from headstart.teachers import Frozen

TRIES = 5
"""Batches looked at before a term counts as dead: a small object may match no cell in one of them."""


def check_lane(
    name: str,
    method: Method,
    teachers: Sequence[Frozen],
    batches: Iterable[Batch],
    total: int,
    *,
    first_drop: int | None = None,
    device: torch.device,
    precision: Precision,
) -> list[dict[str, str]]:
    """Raises UserError unless, for lane `name`, on real batches and at some point of the run's schedules,

    - what each guidance imitates is not the same everywhere,
    - every term is finite and not zero,
    - every trainable parameter gets a gradient, and that of each part besides the student is not zero,
    - each teacher is in evaluation mode, needs no gradient, has classes that the method can use, and is the same
      afterwards.

    Works on a copy: the method, its buffers and gradients, and all random generators are as before.
    Gives the rows of the pairing table.
    """
    for teacher in teachers:
        demand_teacher(name, method, teacher)
    before = [_fingerprint(teacher) for teacher in teachers]
    with _untouched_generators():
        trial = _DryRun(name, copy.deepcopy(method).to(device).train(), precision, device)
        for images, targets in batches:
            batch = images.to(device), [t.to(device) for t in targets]
            points = _points(method.paces, total, first_drop)
            if any(trial.see(batch, Progress(step, total, 0, first_drop)) for step in points):
                break
        trial.demand_complete()
    for teacher in teachers:
        teacher.clear()
    if [_fingerprint(teacher) for teacher in teachers] != before:
        raise UserError(f"Lane {name} changes its teacher, which must stay frozen: a fault of method {name}.")
    return method.describe()


def _points(paces: Sequence[Pace], total: int, first_drop: int | None) -> list[int]:
    """The steps to look at: a schedule may be zero at any of them, not at all.

    Past the warm-up, right before the rate is first lowered, at the end, and at the start; for each of the paces the
    last step until there in which there is guidance of that pace.
    """
    full = max(0, min(first_drop, total) - 1) if first_drop is not None else 0
    return list(dict.fromkeys(pace.latest(step, total) for step in (total // 2, full, total, 0) for pace in paces))


def demand_teacher(name: str, method: Method, teacher: Frozen) -> None:
    """Raises UserError unless the teacher is frozen and has a class that the student has."""
    model = teacher.model
    awake = [n for n, module in model.named_modules() if module.training]
    if awake:
        raise UserError(
            f"The {teacher.title}'s {awake[0] or 'detector'} is in training mode; it must be in evaluation mode."
        )
    learning = [n for n, p in model.named_parameters() if p.requires_grad]
    if learning:
        raise UserError(f"The {teacher.title}'s {learning[0]} requires a gradient; the teacher must be frozen.")
    teacher.match(method.student.classes)


class _DryRun:
    """What has been seen so far of one lane's terms and gradients."""

    def __init__(self, name: str, method: Method, precision: Precision, device: torch.device) -> None:
        self.name, self.method, self.precision, self.device = name, method, precision, device
        self.parameters = trainable(method)
        self.parts = {part: list(module.parameters()) for part, module in method.parts().items()}
        self.silent: set[str] | None = None
        self.loud: set[str] = set()
        self.unheard = {guidance.name for guidance in method}
        self.unreached = set(self.parameters)
        self.idle = {part for part, own in self.parts.items() if any(p.requires_grad for p in own)}

    def see(self, batch: Batch, progress: Progress) -> bool:
        """One forward and backward pass; whether nothing is left to check after it."""
        self.method.zero_grad(set_to_none=True)
        try:
            with self.precision.autocast(self.device):
                self._see_problems(batch, progress)
                objective = self.method(*batch, progress)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"Lane {self.name}: a batch norm sees a single value of each channel, so nothing can be normalised. "
                "Use more images per step (--batch 2 for each process), or larger ones (--imgsz)."
            ) from error
        self._see_terms(objective)
        objective.total.backward()
        self.unreached -= {name for name, p in self.parameters.items() if p.grad is not None}
        self.idle -= {part for part in self.idle if _moves(self.parts[part])}
        self.method.zero_grad(set_to_none=True)
        self.unheard -= {g.name for g in self.method if g.pace.guides(progress.step, progress.total)}
        return not (self.silent or self.unreached or self.idle or self.unheard)

    def demand_complete(self) -> None:
        if self.silent is None:
            raise UserError("The training data has no image with an object in it, so nothing can be learned from it.")
        if self.silent:
            terms = sorted(self.silent, key=is_detection)
            kind = "loss" if is_detection(terms[0]) else "distillation term"
            raise UserError(
                f"Lane {self.name}: the {kind} {terms[0]} is exactly zero on real images at every point of its "
                "schedule, so it would train nothing. Check the method's options (weights, layers)."
            )
        if self.idle:
            raise UserError(f"Lane {self.name}: {min(self.idle)} receives no gradient, so it would never be trained.")
        if self.unreached:
            raise UserError(f"Lane {self.name}: the parameter {min(self.unreached)} is reached by no gradient.")

    @torch.no_grad()
    def _see_problems(self, batch: Batch, progress: Progress) -> None:
        """Once: what the guidances themselves find wrong with a batch."""
        if self.silent is None:
            for problem in self.method.problems(*batch, progress):
                raise UserError(f"Lane {self.name}: {problem}.")

    def _see_terms(self, objective: Objective) -> None:
        if not objective.total.requires_grad:
            raise UserError(f"Lane {self.name}: the losses do not depend on anything trainable.")
        values = {name: float(term.detach()) for name, term in objective.terms.items()}
        for name, value in values.items():
            if not np.isfinite(value):
                raise UserError(
                    f"Lane {self.name}: {name} is {value} before training has begun. Check the weights of student and "
                    "teacher (headstart val FILE), the method's weights, or use --precision fp32."
                )
        self.loud |= {name for name, value in values.items() if value != 0}
        self.silent = ((self.silent or set()) | set(values)) - self.loud


def _moves(parameters: list[nn.Parameter]) -> bool:
    return any(p.grad is not None and bool(p.grad.count_nonzero()) for p in parameters)


def with_objects(loader: Iterable[Batch], tries: int = TRIES) -> Iterator[Batch]:
    """The first few batches that hold an object to find."""
    found = 0
    for batch in loader:
        if any(len(t.wanted) for t in batch[1]):
            yield batch
            found += 1
        if found == tries:
            return


def _fingerprint(teacher: Frozen) -> list[tuple[int, int, float]]:
    tensors: list[Tensor] = list(teacher.model.state_dict(keep_vars=True).values())
    return [(t.data_ptr(), t._version, float(t.detach().double().sum())) for t in tensors]


@contextmanager
def _untouched_generators() -> Generator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)
