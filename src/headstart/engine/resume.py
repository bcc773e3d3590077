"""last.ckpt: everything that training changes, so that a broken run ends with the weights of an unbroken one.

Lightning's own checkpoints are not used: the state here is a step number, the lanes' tensors and what was measured so
far. The order of the data and all randomness follow from (seed, step), so neither samplers nor generators are saved.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch

from headstart.atomic import atomically
from headstart.engine.history import HistoryState
from headstart.engine.lane import TrainingState
from headstart.errors import UserError

FORMAT = 3
"""3: a method's state is that of its student and its guidances. Runs of earlier versions cannot be continued."""

NOT_SET = "not set"
"""What a setting is that a run does not have: not the same as `null`."""

HARMLESS = (
    "name",
    "out",
    "data.workers",
    "train.device",
    "train.checkpoint_every",
    "train.log_every",
    "train.tensorboard",
)
"""Settings that do not change the weights a run ends with, so that a resumed run may have others."""


class Checkpoint(TrainingState):
    """The content of last.ckpt: besides the state, the resolved settings of the run, and what it has measured."""

    format: int
    run: dict[str, object]
    history: HistoryState


def save_checkpoint(path: Path, state: TrainingState, run: dict[str, object], history: HistoryState) -> None:
    """Writes the file in one piece: whenever the process is killed, a complete one is there.

    state    of `Lanes.state()`
    run      the resolved settings, plain values
    history  what was measured so far
    """
    content: Checkpoint = {"format": FORMAT, "run": run, "history": history, **state}
    with atomically(path) as partial:
        torch.save(content, partial)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """What `save_checkpoint` wrote; nothing in the file is executed. Raises UserError if it is something else."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint of headstart (last.ckpt): {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this version of headstart (format {FORMAT}): expected a run's last.ckpt, "
            "or the run's folder. A run of another version has to be continued by that version; its weights can be "
            "used: --student FOLDER/student.safetensors."
        )
    return cast(Checkpoint, content)


def demand_same_run(saved: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raises UserError naming every setting that differs and would change the run."""
    before, after = dict(_flat(saved)), dict(_flat(wanted))
    changed = [
        f"{key} was {_said(before.get(key, NOT_SET))}, is now {_said(after.get(key, NOT_SET))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, NOT_SET) != after.get(key, NOT_SET) and key not in HARMLESS
    ]
    if changed:
        raise UserError(
            f"A resumed run keeps its settings, but {'; '.join(changed)}. Leave that out, or start a new run."
        )


def _said(value: object) -> str:
    """A value as a recipe has it."""
    return "null" if value is None else str(value)


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Dotted keys and values; null is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
