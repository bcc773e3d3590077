"""Checks what a reader found against the image files, clips the boxes, and drops nothing without saying so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headstart.data.dataset import Entry
from headstart.data.problems import Problems
from headstart.data.raw import RawImage, RawIndex
from headstart.data.remembered import Report, inspect_folder
from headstart.data.unreadable import MISSING
from headstart.structures import Size
from headstart.terminal import printable

MIN_SIDE = 0.1
"""Least width and height of a box inside the image, in pixels; a smaller one has no area."""


def check_index(
    raw: RawIndex, root: Path, numbers: np.ndarray, problems: Problems, report: Report | None = None
) -> list[Entry]:
    """The usable images with their usable boxes, clipped to the image; all others are listed in `problems`.

    Every image is decoded once, and what was found is remembered (`headstart.data.remembered`).

    numbers  (raw classes,) int: the label of each class of `raw`, -1 for a class that is left out
    report   is told from time to time how far this is
    """
    sizes, digests = _check_files(raw.images, root, problems, report)
    entries, clipped, left_out = [], 0, defaultdict(int)
    for image, size, digest in zip(raw.images, sizes, digests.tolist()):
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
        annotations = inside[good].astype(np.float32), new[good], ignored[good]
        entries.append(Entry(image.file, image.id, size, *annotations, digest=digest))
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


def _check_files(
    images: Sequence[RawImage], root: Path, problems: Problems, report: Report | None
) -> tuple[list[Size | None], np.ndarray]:
    """The true size of each image and the checksums of the files (N,) uint64.

    The size is None where the file is missing, unreadable or of another size than annotated.
    """
    findings = inspect_folder(root, [image.file for image in images], report)
    sizes: list[Size | None] = []
    for number, (image, (height, width)) in enumerate(zip(images, findings.sizes.tolist())):
        error = findings.errors.get(number, "")
        if not error and image.size and image.size != (height, width):
            error = _disagreement(image.size, (height, width))
        elif error:
            error = "the image file does not exist" if error == MISSING else f"not a readable image: {error}"
        if error:
            problems.add(image.file, error, "image")
        sizes.append(None if error else (height, width))
    used = {number: remark for number, remark in findings.remarks.items() if sizes[number] is not None}
    problems.notes += _notes(used, images)
    return sizes, findings.digests


def _notes(remarks: Mapping[int, str], images: Sequence[RawImage]) -> list[str]:
    """A line for each kind of remark, with the number of images and the first of them."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for number, remark in remarks.items():
        kinds[remark.split(" (")[0]].append(number)
    lines = []
    for kind, numbers in sorted(kinds.items()):
        count = f"{len(numbers)} images are" if len(numbers) > 1 else "1 image is"
        first = printable(images[numbers[0]].file)
        lines.append(
            f"{count} used, though {remarks[numbers[0]] if len(numbers) == 1 else kind}: {first}"
            + (f" and {len(numbers) - 1} more." if len(numbers) > 1 else ".")
        )
    return lines


def _disagreement(said: Size, true: Size) -> str:
    reason = f"is {true[1]} x {true[0]} px, but its annotations say {said[1]} x {said[0]}"
    if said == true[::-1]:
        reason += " (were they drawn without the EXIF turn?)"
    return reason
