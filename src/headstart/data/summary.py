"""What a folder holds, before anything is trained on it: images and boxes by class and size, copies across splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.data.copies import Groups, same_digests, same_source
from headstart.data.dataset import DetectionDataset
from headstart.data.discover import Folder, open_dataset, open_folder
from headstart.data.problems import Problems
from headstart.data.raw import ALL, SPLITS, plural, relative
from headstart.errors import UserError

Say = Callable[[str], None]

Sides = tuple[int, int]
"""Limits of the shorter and the longer side of the resized images, in pixels."""

SMALL, LARGE = 32**2, 96**2
"""COCO's limits of the area of small and large boxes, in pixels."""


@dataclass(frozen=True)
class Contents:
    """The counts of one split.

    boxes      (K, 3) int64: boxes of each class that are small, medium and large in the resized images, ignored ones
               included;  ignored: how many of them these are
    images_of  (K,) int64: images that hold the class;  empty: images without any box
    """

    split: str
    classes: tuple[str, ...]
    images: int
    empty: int
    ignored: int
    boxes: np.ndarray
    images_of: np.ndarray


@dataclass(frozen=True)
class Copies:
    """Images of the split `second` that are copies of images of the split `first`.

    count    how many of the `images` of the second;  same: of these how many have the same bytes, the others are
             versions of one picture by Roboflow's names
    example  the files of one such pair
    """

    first: str
    second: str
    images: int
    count: int
    same: int
    example: tuple[str, str]

    def sentence(self) -> str:
        """The warning."""
        others = self.count - self.same
        kinds = [f"{self.same} of the same bytes"] * (self.same > 0)
        kinds += [f"{others} by Roboflow's names"] * (others > 0)
        return (
            f"Warning: {self.count} of the {self.images} {self.second} images are copies of {self.first} images "
            f"({', '.join(kinds)}), such as {self.example[1]} of {self.example[0]}; "
            f"scores on {self.second} come out too high."
        )


@dataclass(frozen=True)
class Description:
    """A folder as `headstart data` shows it.

    datasets  the splits that could be opened, without what is unusable;  errors: split -> why it could not be
    """

    folder: Folder
    datasets: list[DetectionDataset]
    errors: dict[str, str]
    contents: list[Contents]
    copies: list[Copies]

    @property
    def problems(self) -> Problems:
        """What is wrong in all splits."""
        found = Problems()
        for dataset in self.datasets:
            for problem in dataset.problems:
                found.add(problem.file, problem.reason, problem.dropped)
        return found

    def rows_by_split(self) -> list[dict[str, str | int]]:
        """A row for each split."""
        return [
            {
                "split": one.split,
                "images": one.images,
                "without boxes": one.empty,
                "boxes": int(one.boxes.sum()),
                "ignored": one.ignored,
                **dict(zip(("small", "medium", "large"), one.boxes.sum(0).tolist())),
            }
            for one in self.contents
        ]

    def rows_by_class(self) -> list[dict[str, str | int]]:
        """A row for each class: its boxes and images in each split, and its boxes by size in all of them."""
        rows = []
        for number, name in enumerate(self.contents[0].classes):
            row: dict[str, str | int] = {"class": name}
            for one in self.contents:
                row[f"{one.split} boxes"] = int(one.boxes[number].sum())
                row[f"{one.split} images"] = int(one.images_of[number])
            sizes = sum(one.boxes[number] for one in self.contents)
            rows.append(row | dict(zip(("small", "medium", "large"), np.asarray(sizes).tolist())))
        return rows


def describe(
    path: str | Path,
    *,
    share: float | None = None,
    split_seed: int = 0,
    sides: Sides = (640, 640),
    report: Say | None = None,
) -> Description:
    """Opens every split of a folder and counts. What is unusable is left out and listed.

    share, split_seed  as for `open_dataset`
    Raises UserError if the folder is none of the known formats, or none of its splits can be opened.
    """
    folder = open_folder(path, share=share, split_seed=split_seed)
    datasets: list[DetectionDataset] = []
    errors: dict[str, str] = {}
    for split in (name for name in (*SPLITS, ALL) if name in folder.layout.splits):
        classes = datasets[0].classes if datasets else None
        try:
            datasets.append(open_dataset(folder, split, classes=classes, bad_data="skip", report=report))
        except UserError as error:
            errors[split] = str(error)
    if not datasets:
        raise UserError(next(iter(errors.values()), f"{folder.name} has no split; {folder.layout.remedy}."))
    pairs = [(one, other) for number, other in enumerate(datasets) for one in datasets[:number]]
    copies = [found for pair in pairs if (found := find_copies(*pair)) is not None]
    return Description(folder, datasets, errors, [count(dataset, sides) for dataset in datasets], copies)


def count(dataset: DetectionDataset, sides: Sides) -> Contents:
    """The counts of a split whose images are resized to `sides`; no image is opened."""
    classes, images = len(dataset.classes), len(dataset)
    boxes = np.zeros((classes, 3), np.int64)
    images_of = np.zeros(classes, np.int64)
    empty = ignored = 0
    for index in range(images):
        corners, labels, left_aside = dataset.annotations(index)
        if not len(labels):
            empty += 1
            continue
        height, width = dataset.sizes[index].tolist()
        scale = min(sides[0] / min(height, width), sides[1] / max(height, width))
        area = (corners[:, 2:] - corners[:, :2]).prod(1) * scale**2
        np.add.at(boxes, (labels, (area >= SMALL).astype(int) + (area > LARGE)), 1)
        images_of[np.unique(labels)] += 1
        ignored += int(left_aside.sum())
    return Contents(dataset.split, dataset.classes, images, empty, ignored, boxes, images_of)


def find_copies(first: DetectionDataset, second: DetectionDataset) -> Copies | None:
    """The images of the second that are copies of some of the first; None if there is no such image.

    No file is opened: the bytes are known by their checksums.
    """
    files = [dataset.file(index) for dataset in (first, second) for index in range(len(dataset))]
    same = _across(same_digests(np.concatenate([first.digests, second.digests])), len(first))
    pairs = _across(same_source(files), len(first)) | same
    if not pairs:
        return None
    copy = min(pairs)
    example = _shown(files[pairs[copy]], first.path), _shown(files[copy], second.path)
    return Copies(first.split, second.split, len(second), len(pairs), len(same), example)


def _across(groups: Groups, border: int) -> dict[int, int]:
    """Position from `border` on -> the first one before it in its group."""
    found: dict[int, int] = {}
    for group in groups:
        if group[0] < border:
            found |= dict.fromkeys((position for position in group if position >= border), group[0])
    return found


def summarise_run(
    train: DetectionDataset,
    val: DetectionDataset | None,
    sides: Sides,
    unlabelled: DetectionDataset | None = None,
) -> list[str]:
    """The lines at the start of a run: what trains and what validates, and what is worth a warning."""
    contents = count(train, sides)
    images = f"{len(train)} training images"
    if val is not None:
        images += f", {len(val)} validation images"
    if unlabelled is not None:
        images += f", {plural(len(unlabelled), 'image')} without labels ({unlabelled.path})"
    lines = [f"{train.name}: {images}, {len(train.classes)} classes", f"Training images: {_sizes(contents, sides)}"]
    if val is not None:
        without = [name for name, boxes in zip(val.classes, val.boxes_per_class()) if not boxes]
        if without:
            lines.append(f"No validation box of class {_some(without)}: its AP stays undefined.")
        pairs = [find_copies(other, val) for other in (train, unlabelled) if other is not None]
        lines += [copies.sentence() for copies in pairs if copies is not None]
    twice = find_copies(train, unlabelled) if unlabelled is not None else None
    if twice is not None:
        lines.append(
            f"Warning: {twice.count} of the {twice.images} images without labels are copies of training images, such "
            f"as {twice.example[1]} of {twice.example[0]}: they are seen more often than the others."
        )
    return lines


def summarise_split(dataset: DetectionDataset, sides: Sides) -> list[str]:
    """The lines before a detector is measured on a split."""
    first = f"{dataset.name} {dataset.split}: {len(dataset)} images, {len(dataset.classes)} classes"
    return [first, f"Images: {_sizes(count(dataset, sides), sides)}"]


def _sizes(contents: Contents, sides: Sides) -> str:
    """Boxes and their sizes, such as `100 boxes, at 640 px 20 % small, 50 % medium, 30 % large; 3 without boxes`."""
    sums = contents.boxes.sum(0)
    total = int(sums.sum())
    text = "1 box" if total == 1 else f"{total} boxes"
    if total:
        parts = [f"{100 * number / total:.0f} % {name}" for number, name in zip(sums, ("small", "medium", "large"))]
        size = f"{sides[0]}" if sides[0] == sides[1] else f"{sides[0]} x {sides[1]}"
        text += f", at {size} px {', '.join(parts)}"
    return f"{text}; {contents.empty} without boxes" if contents.empty else text


def _shown(file: Path, root: Path) -> str:
    """The name of a file as any terminal can print it."""
    return relative(file, root).encode("utf-8", "replace").decode()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
