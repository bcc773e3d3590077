"""Checks what a reader found against the image files, clips the boxes, and drops nothing without saying so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.data.dataset import Entry
from headstart.data.images import read_sizes
from headstart.data.problems import Problems
from headstart.data.raw import RawImage, RawIndex
from headstart.errors import UserError
from headstart.structures import Size

MIN_SIDE = 0.1
"""Least width and height of a box inside the image, in pixels; a smaller one has no area."""

CHECK_EACH_UP_TO = 20_000
"""With more images, if all have a size in their annotations, only every tenth file is opened; the rest must exist."""


def check_index(raw: RawIndex, root: Path, numbers: np.ndarray, problems: Problems) -> list[Entry]:
    """The usable images with their usable boxes, clipped to the image; all others are listed in `problems`.

    numbers  (raw classes,) int: the label of each class of `raw`, -1 for a class that is left out
    """
    sizes = _check_files(raw.images, root, problems)
    entries, clipped, left_out = [], 0, defaultdict(int)
    for image, size in zip(raw.images, sizes):
        if size is None:
            continue
        rows = np.array(image.boxes, np.float64).reshape(-1, 6)
        boxes, labels, ignored = rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5].astype(bool)
        if raw.normalised:
            boxes = boxes * [size[1], size[0], size[1], size[0]]
        inside = np.clip(boxes, 0, [size[1], size[0], size[1], size[0]])
        good = _usable(boxes, inside, image.file, problems)
        clipped += int((np.abs(inside - boxes)[good].max(1, initial=0) > 1).sum())
        new = numbers[labels]
        for label in labels[good & (new < 0)]:
            left_out[raw.classes[label]] += 1
        good &= new >= 0
        entries.append(Entry(image.file, image.id, size, inside[good].astype(np.float32), new[good], ignored[good]))
    if clipped:
        problems.notes.append(f"{clipped} boxes reached over the edge of their image and were clipped to it.")
    if left_out:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(left_out.items()))
        problems.notes.append(f"boxes of classes that were not asked for are left out: {counts}.")
    return entries


def _usable(boxes: np.ndarray, inside: np.ndarray, file: str, problems: Problems) -> np.ndarray:
    """(M,) bool: which boxes are finite and have an area inside the image; the others are listed in `problems`.

    boxes   (M, 4) xyxy px as annotated;  inside  the same, clipped to the image
    """
    known = np.asarray(np.isfinite(boxes).all(1))
    with np.errstate(all="ignore"):
        own = (boxes[:, 2:] - boxes[:, :2]).min(1) >= MIN_SIDE
        good = known & own & ((inside[:, 2:] - inside[:, :2]).min(1) >= MIN_SIDE)
    for i in np.flatnonzero(~good):
        corners = ", ".join(f"{value:g}" for value in boxes[i])
        if not known[i]:
            reason = "is not finite"
        else:
            reason = "lies outside the image" if own[i] else "has no area"
        problems.add(file, f"box ({corners}) {reason}")
    return good


def _check_files(images: Sequence[RawImage], root: Path, problems: Problems) -> list[Size | None]:
    """The true size of each image; None where the file is missing, unreadable or of another size than annotated."""
    trusted = len(images) > CHECK_EACH_UP_TO and all(image.size for image in images)
    read = range(0, len(images), 10) if trusted else range(len(images))
    found: list[Size | UserError] = _present(images, root) if trusted else [(0, 0)] * len(images)
    for i, size in zip(read, read_sizes([root / images[i].file for i in read])):
        found[i] = size
    sizes: list[Size | None] = []
    for image, size in zip(images, found):
        if isinstance(size, UserError):
            problems.add(image.file, str(size), "image")
            sizes.append(None)
        elif image.size and image.size != size:
            problems.add(image.file, _disagreement(image.size, size), "image")
            sizes.append(None)
        else:
            sizes.append(size)
    return sizes


def _disagreement(said: Size, true: Size) -> str:
    reason = f"is {true[1]} x {true[0]} px, but its annotations say {said[1]} x {said[0]}"
    if said == true[::-1]:
        reason += " (were they drawn without the EXIF turn?)"
    return reason


def _present(images: Sequence[RawImage], root: Path) -> list[Size | UserError]:
    """The annotated size where the file exists; folders are listed once instead of asking for every file."""
    listed: dict[Path, set[str]] = {}
    answers: list[Size | UserError] = []
    for image in images:
        path = root / image.file
        if path.parent not in listed:
            listed[path.parent] = {file.name for file in path.parent.iterdir()} if path.parent.is_dir() else set()
        exists = path.name in listed[path.parent]
        answers.append(image.size if exists and image.size else UserError("the image file does not exist"))
    return answers
