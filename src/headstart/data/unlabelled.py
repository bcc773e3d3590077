"""Images without annotations that train beside annotated ones: where they come from, and their place in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.discover import Folder, open_dataset
from headstart.data.problems import Problems
from headstart.data.raw import ALL, Layout, RawImage, RawIndex, short
from headstart.data.tree import Tree, walk
from headstart.errors import UserError

if TYPE_CHECKING:  # the folder is looked at before torch is imported, see early.py
    from headstart.data.dataset import DetectionDataset

SHARE = 0.5
"""Of each batch, unless `data.unlabelled_share` says otherwise."""


def find_unlabelled(path: str | Path) -> Tree:
    """The images below a folder, at any depth; no file is opened. Raises UserError if there is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"the folder of images without labels {short(str(folder), 200)} {what}; give a folder.")
    tree = walk(folder)
    if not tree.pictures:
        raise UserError(f"the folder of images without labels {folder} holds no image (such as .jpg or .png).")
    return tree


def open_unlabelled(
    path: str | Path,
    beside: Sequence[DetectionDataset],
    *,
    bad_data: str = "stop",
    report: Callable[[str], None] | None = None,
) -> DetectionDataset:
    """The images below a folder as a data set without annotations, `labelled` False; checked as all others.

    beside  the data that it stands beside, of the same run: it has the classes of the first, and other ids
    bad_data, report  as for `open_dataset`

    Raises UserError for a folder without images and, by default, for images that cannot be used.
    """
    tree = find_unlabelled(path)
    first = 1 + max((number for dataset in beside for number in dataset.ids), default=-1)
    classes = beside[0].classes

    def read(problems: Problems) -> RawIndex:
        images = [RawImage(file, number) for number, file in enumerate(tree.pictures, start=first)]
        return RawIndex(list(classes), images)

    layout = Layout("images without labels", {ALL: read}, remedy="", notes=tree.notes())
    dataset = open_dataset(Folder(tree.root, layout), ALL, classes=classes, bad_data=bad_data, report=report)
    dataset.labelled, dataset.split = False, "unlabelled"
    return dataset


def count_unlabelled(batch: int, share: float) -> int:
    """How many images of a batch (that of all processes together) have no labels.

    Raises UserError where the share leaves one of the two kinds without an image.
    """
    count = round(share * batch)
    if not 0 < count < batch:
        raise UserError(
            f"data.unlabelled_share {share:g} of a batch of {batch} is {count} images, and both kinds of images, with "
            "labels and without, need at least one: use a larger batch (--batch), or another share."
        )
    return count
