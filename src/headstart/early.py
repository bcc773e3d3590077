"""What can be seen to be wrong with a run before torch is imported, which takes seconds: folders, files, names."""

from __future__ import annotations

import sys
from pathlib import Path

from headstart.config import GIVEN, Data, DetectorChoice, Run
from headstart.data.discover import open_folder
from headstart.data.split import missing_split, read_split, splits_of_run
from headstart.data.unlabelled import find_unlabelled
from headstart.detectors.names import is_detector, unknown_detector
from headstart.errors import UserError
from headstart.hub.address import is_on_hub, parse_address


def look_first(run: Run) -> None:
    """Raises UserError for a data folder that is none, a split that it lacks, a file that is not there, a wrong name.

    Annotations and images are not read. `prepare` (headstart.engine.prepare) finds everything else.
    """
    _demand_splits(run.data, evaluates=run.train.eval_every > 0)
    if run.data.unlabelled is not None:
        find_unlabelled(run.data.unlabelled)
    _demand_detector(run.student, "student")
    for teacher in run.teachers:
        _demand_detector(teacher, "teacher")


def demand_data(path: str, split: str, split_seed: int = 0) -> None:
    """Raises UserError unless the path is a folder of annotated images that has this split, or can be divided so.

    split  a name, or the share that validates
    """
    name, share = read_split(split)
    folder = open_folder(path, share=share, split_seed=split_seed)
    if name not in folder.layout.splits:
        raise missing_split(folder.name, folder.layout, name)


def demand_weights(path: str) -> None:
    """Raises UserError if there is nothing at this path."""
    if not _is_there(path):
        raise UserError(f"{path} does not exist. Give weights that headstart wrote, or a checkpoint (.pth, .pt).")


def _is_there(path: str) -> bool:
    """Whether a file exists; one on the hub has an address of the right shape (it is asked for later)."""
    return parse_address(path) is not None if is_on_hub(path) else Path(path).exists()


def _demand_splits(data: Data, *, evaluates: bool) -> None:
    folder = open_folder(data.path, share=data.split, split_seed=data.split_seed)
    for split in splits_of_run(folder.name, folder.layout, data.val_split, evaluates):
        if split is not None and split not in folder.layout.splits:
            raise missing_split(folder.name, folder.layout, split)


def _demand_detector(choice: DetectorChoice, who: str) -> None:
    if choice.file is not None:
        try:
            demand_weights(choice.file)
        except UserError as error:
            raise UserError(f"{who}: {error}") from None
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
