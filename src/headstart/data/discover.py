"""Opens a folder of annotated images, whatever its format."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from headstart.data.check import check_index
from headstart.data.classes import choose_classes
from headstart.data.coco import find_coco, find_roboflow
from headstart.data.dataset import DetectionDataset
from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout
from headstart.data.voc import find_voc
from headstart.data.yolo import find_yolo
from headstart.errors import UserError, did_you_mean
from headstart.terminal import printable

FINDERS: list[Callable[[Path], Layout | None]] = [find_coco, find_roboflow, find_voc, find_yolo]

Choose = Callable[[Sequence[str], Callable[[], Sequence[str]]], Sequence[str]]
"""A function that chooses the class names from those in a split and a function that gives those in the others."""

LOOKED_FOR = """\
  COCO      annotations/instances_train*.json and a folder of images
  Roboflow  train/_annotations.coco.json
  VOC       Annotations/*.xml, JPEGImages/ and ImageSets/Main/train.txt (or VOCdevkit/VOC2007/...)
  YOLO      data.yaml with train, val and names"""


def open_dataset(
    path: str | Path,
    split: str,
    *,
    classes: Sequence[str] | Choose | None = None,
    bad_data: str = "stop",
    report: Callable[[str], None] | None = None,
) -> DetectionDataset:
    """The "train", "val" or "test" images of a COCO, Roboflow, VOC or YOLO folder, checked.

    classes   the part and order of the class names to use; by default all, in the data's own order. Open the
              validation split with the classes of the training split, so that labels mean the same. Or a function that
              chooses them from the names in this split and, if it asks for them, those in the others
    bad_data  "stop" lists what is wrong with the data and ends; "skip" drops it and reports what was dropped
    report    called with each line or list worth telling the user; by default a warning of the logger "headstart"
    Raises UserError for whatever is wrong with the folder, the split, the classes or, by default, the data.
    """
    for name, value, allowed in (("split", split, list(SPLITS)), ("bad_data", bad_data, ["stop", "skip"])):
        if value not in allowed:
            near = did_you_mean(value, allowed, quoted=True, otherwise="")
            raise UserError(f"{name} must be {' or '.join(allowed)}, found {value!r}{near}")
    given = Path(path).expanduser()
    layout = find_layout(given)
    root = given.parent if given.is_file() else given
    if split not in layout.splits:
        there = "only " + " and ".join(layout.splits) if layout.splits else "nor any other"
        raise UserError(f"{root} ({layout.kind}) has no {split} split, {there}; add it ({layout.remedy}).")
    problems = Problems()
    raw = layout.splits[split](problems)
    elsewhere = functools.partial(_names_elsewhere, layout, split)
    wanted = classes if classes is None or isinstance(classes, Sequence) else classes(raw.classes, elsewhere)
    if wanted is None and not raw.classes:
        raise UserError(f"the {split} data of {root} ({layout.kind}) names no class; add its classes.")
    chosen, numbers = choose_classes(raw.classes, wanted, elsewhere)
    entries = check_index(raw, root, numbers, problems)
    if len(problems) and bad_data == "stop":
        raise UserError(
            f"the {split} data of {root} ({layout.kind}) has {len(problems)} "
            f"{'entry that is' if len(problems) == 1 else 'entries that are'} not in order:\n{problems.table()}\n"
            f"Repair the data, or leave out {problems.summary()} with --bad-data skip."
        )
    if not entries:
        raise UserError(
            f"the {split} data of {root} ({layout.kind}) holds no usable image.\n{problems.table()}".strip()
        )
    outside = [entry.file for entry in entries if _leaves_folder(entry.file)]
    if outside:
        problems.notes.append(f"{len(outside)} images lie outside of the folder, such as {outside[0]}.")
    dataset = DetectionDataset(entries, chosen, path=root, split=split, problems=tuple(problems))
    _tell(dataset, problems, report or _warn)
    return dataset


def find_layout(root: Path) -> Layout:
    """The one format that the folder has. Raises UserError saying what was looked for and what was found."""
    if not root.exists():
        raise UserError(f"the data folder {root} does not exist; check the path.")
    layouts = [layout for find in FINDERS if (layout := find(root))]
    if not layouts and root.is_file():
        raise UserError(f"{root} is a file; give the folder of the data set, or the data.yaml of a YOLO data set.")
    if not layouts:
        raise UserError(f"{root} is in none of the known formats. Looked for\n{LOOKED_FOR}\nFound {_contents(root)}.")
    if len(layouts) > 1:
        kinds = " and ".join(layout.kind for layout in layouts)
        raise UserError(
            f"{root} holds data in several formats ({kinds}); keep one, or give a folder that has only one."
        )
    return layouts[0]


def _leaves_folder(file: str) -> bool:
    """Whether the file of an image, relative to the folder or absolute, lies outside of it."""
    return Path(file).is_absolute() or Path(os.path.normpath(file)).parts[:1] == (os.pardir,)


def _contents(root: Path) -> str:
    entries = sorted(root.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    names = [entry.name + "/" * entry.is_dir() for entry in entries[:12]]
    return ", ".join(names) + (f" and {len(entries) - 12} more" if len(entries) > 12 else "") or "an empty folder"


def _names_elsewhere(layout: Layout, split: str) -> list[str]:
    others = [read for name, read in layout.splits.items() if name != split]
    return [name for read in others for name in read(Problems()).classes]


def _warn(text: str) -> None:
    logging.getLogger("headstart").warning(printable(text))


def _tell(dataset: DetectionDataset, problems: Problems, report: Callable[[str], None]) -> None:
    where = f"{dataset.name} {dataset.split}"
    if len(problems):
        report(f"{where}: left out {problems.summary()}:\n{problems.table()}")
    for note in problems.notes:
        report(f"{where}: {note}")
    empty = [name for name, count in zip(dataset.classes, dataset.boxes_per_class()) if not count]
    if empty and dataset.split == "train":
        report(f"{where}: no box of class {', '.join(empty)}.")
