"""What every reader returns, whatever the format: images, boxes and class names, not yet checked against the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.problems import Problems

if TYPE_CHECKING:
    from headstart.structures import Size

RawBox = tuple[float, float, float, float, int, bool]
"""x1, y1, x2, y2, number in `RawIndex.classes`, ignored. The floats may still be infinite, NaN or out of range."""

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""The splits by the names that folders and files use for them."""


@dataclass
class RawImage:
    """One image: its file, relative to the folder or absolute; its size (height, width) if the annotations give one."""

    file: str
    id: int
    size: Size | None = None
    boxes: list[RawBox] = field(default_factory=list)


@dataclass
class RawIndex:
    """One split, not yet checked. Boxes are xyxy in pixels, or with `normalised` in fractions of width and height."""

    classes: list[str]
    images: list[RawImage]
    normalised: bool = False


@dataclass(frozen=True)
class Layout:
    """A format that was recognised in a folder.

    kind    its name, such as "COCO"
    splits  "train", "val", "test", those that there are -> a function that reads the split and lists what is wrong
    remedy  where a split that is missing would have to be, for errors
    """

    kind: str
    splits: Mapping[str, Callable[[Problems], RawIndex]]
    remedy: str


def number(value: object) -> float:
    """The value as a float. Raises ValueError for what is no number (text, booleans, None)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def is_file(path: Path) -> bool:
    """Like Path.is_file, and False for what can be no path at all (a name that is too long)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def short(value: object) -> str:
    """The beginning of a value, for messages."""
    text = str(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def relative(file: Path, root: Path) -> str:
    """The path inside the folder; the whole path of a file that lies elsewhere."""
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
