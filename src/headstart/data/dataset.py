"""A set of annotated images: the index in packed arrays, the images on disk until one is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from headstart.data.images import read_image
from headstart.data.problems import Problem
from headstart.errors import UserError
from headstart.structures import Size


@dataclass(frozen=True)
class Sample:
    """One image and its annotations.

    image     (3, H, W) uint8 RGB
    boxes     (M, 4) float32 xyxy px of `image`
    labels    (M,) int64 in 0..K-1
    ignored   (M,) bool: crowd or difficult
    id        the data set's own integer id
    original  (height, width) as stored, EXIF applied, whatever the transforms did since
    labelled  whether somebody looked for objects in it: where not, it has no boxes, and is no background either
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    id: int
    original: Size
    labelled: bool = True


@dataclass(frozen=True)
class Entry:
    """One image of the index: its file, relative to the folder, its size (height, width) and its checked annotations.

    boxes (M, 4) float32 xyxy px, labels (M,) int64, ignored (M,) bool
    digest: 64-bit checksum of the bytes of the file, 0 where it is not known
    """

    file: str
    id: int
    size: Size
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray
    digest: int = 0


class DetectionDataset(Dataset):
    """Reads `Sample`s; holds file names, sizes and boxes only, packed so that workers share them cheaply.

    classes   names in label order
    path      the folder that was opened; name and split: what tables call it
    sizes     (N, 2) int64 height, width as seen (EXIF applied)
    digests   (N,) uint64 checksum of the bytes of each image file (8 bytes of BLAKE2b), as they were when checked
    ids       integer id of each image, unique
    problems  what was dropped when the folder was opened with bad data skipped
    labelled  whether its images were annotated; false of a folder of images alone (`headstart.data.unlabelled`)
    """

    labelled = True

    def __init__(
        self,
        entries: Sequence[Entry],
        classes: Sequence[str],
        *,
        path: Path,
        split: str,
        name: str | None = None,
        problems: Sequence[Problem] = (),
    ):
        self.classes = tuple(classes)
        self.path = Path(path)
        self.split = split
        self.name = name or self.path.resolve().name
        self.problems = tuple(problems)
        names = [entry.file.encode("utf-8", "surrogateescape") for entry in entries]
        self._names = b"".join(names)
        self._name_ends = np.cumsum([0, *map(len, names)])
        self._ids = np.array([entry.id for entry in entries], np.int64)
        self.sizes = np.array([entry.size for entry in entries], np.int64).reshape(-1, 2)
        self.digests = np.array([entry.digest for entry in entries], np.uint64)
        self._ends = np.cumsum([0, *(len(entry.labels) for entry in entries)])
        self._boxes = np.concatenate([np.zeros((0, 4), np.float32), *(e.boxes for e in entries)]).astype(np.float32)
        self._labels = np.concatenate([np.zeros(0, np.int64), *(e.labels for e in entries)])
        self._ignored = np.concatenate([np.zeros(0, bool), *(e.ignored for e in entries)])

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[int]:
        """The integer id of each image, in order."""
        return self._ids.tolist()

    def image_id(self, index: int) -> int:
        """The integer id of one image."""
        return int(self._ids[index])

    def file(self, index: int) -> Path:
        """The path of an image."""
        start, stop = self._name_ends[index], self._name_ends[index + 1]
        return self.path / self._names[start:stop].decode("utf-8", "surrogateescape")

    def annotations(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """boxes (M, 4) float32 xyxy px, labels (M,) int64, ignored (M,) bool; the image is not read."""
        rows = slice(self._ends[index], self._ends[index + 1])
        return self._boxes[rows], self._labels[rows], self._ignored[rows]

    def boxes_per_class(self) -> list[int]:
        """How many boxes each class has, ignored ones included."""
        return np.bincount(self._labels, minlength=len(self.classes)).tolist()

    def __getitem__(self, index: int) -> Sample:
        """Reads an image. Raises UserError naming the file if it cannot be decoded or its size has changed."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        image = read_image(self.file(index))
        height, width = self.sizes[index].tolist()
        if tuple(image.shape[1:]) != (height, width):
            raise UserError(
                f"the image {self.file(index)} should be {width} x {height} px by its annotations, "
                f"but is {image.shape[2]} x {image.shape[1]}; correct the annotations or the image."
            )
        boxes, labels, ignored = (torch.from_numpy(array.copy()) for array in self.annotations(index))
        return Sample(image, boxes, labels, ignored, self.image_id(index), (height, width), self.labelled)
