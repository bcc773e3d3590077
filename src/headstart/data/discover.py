"""Opens a folder of annotated images, whatever its format."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.classes import choose_classes
from headstart.data.coco import find_coco
from headstart.data.cvat import find_cvat
from headstart.data.labelme import find_labelme
from headstart.data.problems import Problems
from headstart.data.raw import Layout, RawIndex, plural, short
from headstart.data.split import Whole, divide_layout, missing_split, split_name
from headstart.data.text import read_json, read_xml
from headstart.data.tree import Tree, walk, worth_a_look
from headstart.data.voc import find_voc
from headstart.data.yolo import find_yolo
from headstart.data.yolo_plain import find_yolo_plain
from headstart.errors import UserError, did_you_mean
from headstart.terminal import printable

if TYPE_CHECKING:  # a folder is recognised before torch is imported, see early.py
    from headstart.data.dataset import DetectionDataset

FINDERS: list[Callable[[Tree], Layout | None]] = [
    *(find_coco, find_voc, find_cvat, find_labelme, find_yolo, find_yolo_plain),
]

Choose = Callable[[Sequence[str], Callable[[], Sequence[str]]], Sequence[str]]
"""A function that chooses the class names from those in a split and a function that gives those in the others."""

LOOKED_FOR = """\
  COCO     a json with images, annotations and categories, such as annotations/instances_train.json
  VOC      xml files whose root is <annotation>, such as Annotations/*.xml, and JPEGImages/
  YOLO     data.yaml with train, val and names; or labels/*.txt, images/ and classes.txt
  LabelMe  a json with shapes for each image
  CVAT     an xml whose root is <annotations>"""


@dataclass(frozen=True)
class Folder:
    """A folder whose format is known.

    root, layout  where the images are, and what splits there are
    whole         how the only split was divided, where that was asked for
    """

    root: Path
    layout: Layout
    whole: Whole | None = None

    @property
    def name(self) -> str:
        """The folder with its format, as messages call it."""
        return f"{self.root} ({self.layout.kind})"


def open_folder(path: str | Path, *, share: float | None = None, split_seed: int = 0) -> Folder:
    """Finds the format and the splits; no annotation is read yet.

    share, split_seed  divide the only split that there is, see `headstart.data.split`
    Raises UserError for a folder of no known format, and for one that is not to be divided.
    """
    given = Path(path).expanduser()
    layout = find_layout(given)
    root = given.parent if given.is_file() else given
    if share is None:
        return Folder(root, layout)
    return Folder(root, *divide_layout(layout, root, share, split_seed))


def open_dataset(
    path: str | Path | Folder,
    split: str,
    *,
    classes: Sequence[str] | Choose | None = None,
    bad_data: str = "stop",
    share: float | None = None,
    split_seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> DetectionDataset:
    """The "train", "val" or "test" images of a COCO, Roboflow, VOC or YOLO folder, checked.

    path      the folder, or what `open_folder` gave: then both parts of a divided folder are read once
    split     also "all", of a folder that is not divided
    classes   the part and order of the class names to use; by default all, in the data's own order. Open the
              validation split with the classes of the training split, so that labels mean the same. Or a function that
              chooses them from the names in this split and, if it asks for them, those in the others
    bad_data  "stop" lists what is wrong with the data and ends; "skip" drops it and reports what was dropped
    share     makes "train" and "val" out of a folder that has no validation split: the share that validates, such as
              0.2; the same images for the same share and `split_seed`, see `headstart.data.split`
    report    called with each line or list worth telling the user, and every 10 s with how many images are checked; by
              default a warning of the logger "headstart", without the progress
    Raises UserError for whatever is wrong with the folder, the split, the classes or, by default, the data.
    """
    from headstart.data.check import check_index
    from headstart.data.dataset import DetectionDataset

    split = split_name(split)
    if bad_data not in ("stop", "skip"):
        near = did_you_mean(bad_data, ["stop", "skip"], quoted=True, otherwise="")
        raise UserError(f"bad_data must be stop or skip, found {bad_data!r}{near}")
    folder = path if isinstance(path, Folder) else open_folder(path, share=share, split_seed=split_seed)
    root, layout = folder.root, folder.layout
    if split not in layout.splits:
        raise missing_split(folder.name, layout, split)
    problems = Problems()
    problems.notes += layout.notes if split == next(iter(layout.splits)) else ()
    raw = layout.splits[split](problems)
    _demand_classes(raw, layout, root, problems)
    elsewhere = functools.partial(_names_elsewhere, layout, split)
    wanted = classes if classes is None or isinstance(classes, Sequence) else classes(raw.classes, elsewhere)
    if wanted is None and not raw.classes:
        raise UserError(f"the {split} data of {root} ({layout.kind}) names no class; add its classes.")
    chosen, numbers = choose_classes(raw.classes, wanted, elsewhere)
    entries = check_index(raw, root, numbers, problems, report)
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
    dataset = DetectionDataset(entries, chosen, path=root, split=split, problems=tuple(problems))
    _tell(dataset, problems, report or _warn)
    return dataset


def find_layout(root: Path) -> Layout:
    """The one format that the folder has. Raises UserError saying what was looked for and what was found."""
    try:
        root.stat()
    except (OSError, ValueError):
        raise UserError(f"the data folder {short(str(root), 200)} does not exist; check the path.") from None
    if not root.is_dir() and root.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"{root} is a file; give the folder of the data set, or the data.yaml of a YOLO data set.")
    if root.is_dir():
        tree = walk(root)
        layouts = [layout for find in FINDERS if (layout := find(tree))]
    else:
        tree = walk(root.parent)
        layouts = [layout] if (layout := find_yolo(tree, root)) else []
    if not layouts:
        raise UserError(f"{root} is in none of the known formats. Looked for\n{LOOKED_FOR}\n{_found(tree)}")
    if len(layouts) > 1:
        kinds = " and ".join(layout.kind for layout in layouts)
        raise UserError(
            f"{root} holds data in several formats ({kinds}); keep one, or give a folder that has only one. "
            f"Found {'; '.join(f'{layout.kind}: {layout.source}' for layout in layouts)}."
        )
    return replace(layouts[0], notes=(*tree.notes(), *layouts[0].notes))


def _demand_classes(raw: RawIndex, layout: Layout, root: Path, problems: Problems) -> None:
    """Raises UserError if there is no class at all: because of what is wrong with the annotations, if anything is."""
    if not raw.classes:
        boxes = sum(len(image.boxes) for image in raw.images)
        found = f"{plural(len(raw.images), 'image')} with {plural(boxes, 'box', 'boxes')}"
        what = f"what is wrong:\n{problems.table()}" if len(problems) else "add boxes with the names of their classes."
        raise UserError(f"the annotations in {root} ({layout.kind}) name no class: found {found}; {what}")


def _found(tree: Tree) -> str:
    """What lies in a folder of no known format, and what to do about it."""
    entries = sorted(tree.root.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
    names = [entry.name + "/" * entry.is_dir() for entry in entries[:12]]
    shown = ", ".join(names) + (f" and {len(entries) - 12} more" if len(entries) > 12 else "") or "an empty folder"
    counts = {suffix: len(files) for suffix, files in tree.files.items() if suffix}
    most = sorted(counts, key=lambda suffix: -counts[suffix])[:5]
    listed = [plural(len(tree.pictures), "image")] if tree.pictures else []
    listed += [plural(counts[suffix], f"{suffix} file") for suffix in most]
    passed = "".join(f" {note[0].upper()}{note[1:]}" for note in tree.notes())
    if not listed:
        return f"Found {shown}.{passed}"
    remedy = (
        "Convert the annotations to COCO (CVAT, Label Studio and the package datumaro do)."
        if not tree.pictures or counts
        else "Annotate the images, for instance with CVAT, Label Studio or LabelMe, and export them as COCO."
    )
    return f"Found {shown}: {', '.join(listed)} in all{_unread(tree)}.{passed} {remedy}"


def _unread(tree: Tree) -> str:
    """The first json or xml file that cannot be read, and why: it may be the one that is meant."""
    for suffix, read in ((".json", read_json), (".xml", read_xml)):
        for file in worth_a_look(tree.with_suffix(suffix))[:100]:
            try:
                read(tree.root / file)
            except ValueError as error:
                return f"; {file} is not readable {suffix[1:]} ({error})"
    return ""


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
