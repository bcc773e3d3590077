"""last.ckpt: everything that training changes, so that a broken run ends with the weights of an unbroken one.

Lightning's own checkpoints are not used: the state here is a step number, the lanes' tensors and what was measured so
far. The order of the data and all randomness follow from (seed, step), so neither samplers nor generators are saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import cast

import torch

from headstart.atomic import atomically
from headstart.engine.folder import LAST
from headstart.engine.history import History, HistoryState
from headstart.engine.lane import TrainingState
from headstart.errors import UserError, beginning
from headstart.recipe import check_run, plain_run
from headstart.torch_file import load_torch

FORMAT = 3
"""3: a method's state is that of its student and its guidances. Runs of earlier versions cannot be continued."""

NOT_SET = "not set"
"""What a setting is that a run does not have: not the same as `null`."""

HARMLESS = (
    "name",
    "out",
    "data.path",
    "data.unlabelled",
    "data.name",
    "data.workers",
    "train.device",
    "train.checkpoint_every",
    "train.log_every",
    "train.shares_every",
    "train.tensorboard",
)
"""Settings that do not change the weights a run ends with, so that a resumed run may have others.

Data and files may lie elsewhere: that they are the same is seen by their content (`engine.identity`). `data.name` is
what tables call the data: its folder's name.
"""

MOVED = re.compile(r"(?:student|teacher(?:\.\d+)?)\.file|teacher(?:\.\d+)?\.(?:cache|cache_limit)")
"""Files of weights, and where and how much a teacher's answers are kept: as `HARMLESS`."""


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
    remedy = f"It must be a whole {LAST}: give the run's folder"
    content = load_torch(path, "The checkpoint of a run", remedy, device=device)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this version of headstart (format {FORMAT}): expected a run's last.ckpt, "
            "or the run's folder. A run of another version has to be continued by that version; its weights can be "
            "used: --student FOLDER/student.safetensors."
        )
    strange = [key for key, right in CONTENT.items() if not right(content.get(key))]
    if strange:
        raise UserError(f"{path} is damaged: it has no usable {' and '.join(strange)}. {remedy}, or start a new run.")
    # Settings that are newer than the file have their defaults in it.
    run = plain_run(check_run(content["run"], str(path)))
    return cast(Checkpoint, {**content, "run": run})


def _is_history(value: object) -> bool:
    """Whether a value has what makes a `History`."""
    if not isinstance(value, dict) or not isinstance(value.get("finished"), bool):
        return False
    kept = {field.name for field in fields(History)}
    inner = [value.get(key) for key in kept - {"finished", "identity"}] + [value.get("identity", {})]
    return set(value) <= kept and all(isinstance(entry, dict) for entry in inner)


CONTENT: dict[str, Callable[[object], bool]] = {
    "run": lambda value: isinstance(value, dict),
    "step": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "lanes": lambda value: isinstance(value, dict) and all(isinstance(lane, dict) for lane in value.values()),
    "history": _is_history,
}
"""Whether an entry of a checkpoint is what `Checkpoint` says."""


def demand_same_run(saved: Mapping[str, object], wanted: Mapping[str, object], where: str = "") -> None:
    """Raises UserError naming every setting that differs and would change the run.

    where  the file that says what is wanted; "" where the user does
    """
    before, after = dict(_flat(saved)), dict(_flat(wanted))
    changed = [
        f"{key} was {_said(before.get(key, NOT_SET))}, is now {_said(after.get(key, NOT_SET))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, NOT_SET) != after.get(key, NOT_SET) and key not in HARMLESS and not MOVED.fullmatch(key)
    ]
    if changed:
        remedy = f"Leave that out{f' of {where}' if where else ''}, or start a new run."
        raise UserError(
            f"A resumed run keeps its settings, but {f'in {where} ' if where else ''}{'; '.join(changed)}. {remedy}"
        )


def _said(value: object) -> str:
    """A value as a recipe has it."""
    return "null" if value is None else beginning(value)


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Dotted keys and values; null is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            yield from _flat({str(place): entry for place, entry in enumerate(value)}, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
