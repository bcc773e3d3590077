"""last.ckpt: everything that training changes, so that a broken run ends with the weights of an unbroken one.

Lightning's own checkpoints are not used: the state here is a step number, the lanes' tensors and what was measured so
far. The order of the data and all randomness follow from (seed, step), so neither samplers nor generators are saved.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from headstart.engine.folder import atomically
from headstart.errors import UserError

FORMAT = 2

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


def save_checkpoint(path: Path, state: dict[str, Any], run: dict[str, Any], journal: dict[str, Any]) -> None:
    """Writes the file in one piece: whenever the process is killed, a complete one is there.

    state    of `Lanes.state()`
    run      the resolved settings, plain values
    journal  evaluations so far, plain values
    """
    with atomically(path) as partial:
        torch.save({"format": FORMAT, "run": run, "journal": journal, **state}, partial)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `save_checkpoint` wrote; nothing in the file is executed. Raises UserError if it is something else."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint of headstart (last.ckpt): {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this version of headstart (format {FORMAT}): expected a run's last.ckpt, "
            "or the run's folder."
        )
    return content


def demand_same_run(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises UserError naming every setting that differs and would change the run."""
    before, after = dict(_flat(saved)), dict(_flat(wanted))
    changed = [
        f"{key} was {before.get(key, NOT_SET)}, is now {after.get(key, NOT_SET)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, NOT_SET) != after.get(key, NOT_SET) and key not in HARMLESS
    ]
    if changed:
        raise UserError(
            f"A resumed run keeps its settings, but {'; '.join(changed)}. Leave that out, or start a new run."
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
