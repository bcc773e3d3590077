"""What can be seen to be wrong with a run before torch is imported, which takes seconds: folders, files, names."""

from __future__ import annotations

import sys
from pathlib import Path

from headstart.config import GIVEN, DetectorChoice, Run
from headstart.data.discover import demand_split, find_layout
from headstart.detectors.names import is_detector, unknown_detector
from headstart.errors import UserError


def look_first(run: Run) -> None:
    """Raises UserError for a data folder that is none, a split that it lacks, a file that is not there, a wrong name.

    Annotations and images are not read. `prepare` (headstart.engine.prepare) finds everything else.
    """
    demand_data(run.data.path, ["train"] if run.train.eval_every == 0 else ["train", "val"])
    _demand_detector(run.student, "student")
    for teacher in run.teachers:
        _demand_detector(teacher, "teacher")


def demand_data(path: str, splits: list[str]) -> None:
    """Raises UserError unless the path is a folder of annotated images that has these splits."""
    given = Path(path).expanduser()
    layout = find_layout(given)
    for split in splits:
        demand_split(layout, split, given.parent if given.is_file() else given)


def demand_weights(path: str) -> None:
    """Raises UserError if there is nothing at this path."""
    if not Path(path).exists():
        raise UserError(f"{path} does not exist. Give weights that headstart wrote, or a checkpoint (.pth, .pt)")


def _demand_detector(choice: DetectorChoice, who: str) -> None:
    if choice.file is not None:
        if not Path(choice.file).exists():
            raise UserError(
                f"{who}: {choice.file} does not exist. Give weights that headstart wrote, or a checkpoint (.pth, .pt)"
            )
        return
    name = choice.name or ""
    # Where the builders are imported, a program may have added some of its own.
    if name != GIVEN and "headstart.detectors.zoo" not in sys.modules and not is_detector(name, choice.backbone):
        raise UserError(unknown_detector(name))
    if isinstance(choice.pretrained, str) and not Path(choice.pretrained).is_file():
        raise UserError(
            f"weights file {choice.pretrained} does not exist: pass --weights none to train from scratch or another "
            "file"
        )
