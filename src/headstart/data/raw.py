"""What every reader returns, whatever the format: images, boxes and class names, not yet checked against the files."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from headstart.data.problems import Problems

if TYPE_CHECKING:
    from headstart.structures import Size

RawBox = tuple[float, float, float, float, int, bool]
"""x1, y1, x2, y2, number in `RawIndex.classes`, ignored. The floats may still be infinite, NaN or out of range."""

SPLITS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""The splits by the names that folders and files use for them."""

ALL = "all"
"""The only split of data that is not divided."""

WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
"""The words of a file name: `valImages2017` has val and Images."""

TRUE, FALSE = ("1", "true", "yes", "y", "t"), ("", "0", "false", "no", "n", "f", "none", "null", "unspecified")


@dataclass(slots=True)
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


Reader = Callable[[Problems], RawIndex]
"""Reads one split and lists what is wrong with it."""


@dataclass(frozen=True)
class Layout:
    """A format that was recognised in a folder.

    kind    its name, such as "COCO"
    splits  "train", "val", "test", those that there are, or only "all" -> its reader
    remedy  where a split that is missing would have to be, for errors
    source  the files that it was recognised by, for errors
    names   split -> the name that the folder uses for it, such as "valid" for "val"
    notes   what is worth telling about the folder as a whole
    """

    kind: str
    splits: Mapping[str, Reader]
    remedy: str
    source: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_split(path: str) -> tuple[str, str] | None:
    """The split that a relative path names, and the word for it: the file's own name decides, then its folders."""
    parts = PurePath(path).parts
    for part in (PurePath(path).stem, *reversed(parts[:-1])):
        for word in WORDS.findall(part):
            for split, names in SPLITS.items():
                if word.lower() in names:
                    return split, word
    return None


def number(value: object) -> float:
    """The value as a float; text that is a number counts. Raises ValueError for all else (booleans, None)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def whole(value: object) -> int | None:
    """The value as a whole number of at most 63 bits: 7, 7.0, "7", " 7 " and "7.0" are the same. None for all else."""
    if isinstance(value, str):
        value = value.strip()
        found = re.fullmatch(r"([+-]?[0-9]{1,19})(\.0*)?", value)
        value = int(found[1]) if found else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def flag(value: object) -> bool:
    """True for 1, "1", true, "yes" and the like, False for 0 and the like and nothing. Raises ValueError otherwise."""
    text = "" if value is None else str(value).strip().lower().removesuffix(".0")
    if text in TRUE or text in FALSE:
        return text in TRUE
    raise ValueError(f"{short(value)} is neither 0 nor 1")


def is_file(path: Path) -> bool:
    """Like Path.is_file, and False for what can be no path at all (a name that is too long)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def short(value: object, length: int = 60) -> str:
    """The beginning of a value, for messages."""
    if isinstance(value, Exception):
        value = str(value)
    elif not isinstance(value, str):
        # Not all of it is written first: yaml can nest a few lines into gigabytes.
        value = BRIEF.repr(value)
    text = value.replace("\n", " ")
    return text if len(text) <= length else text[: length - 3] + "..."


BRIEF = reprlib.Repr()
BRIEF.maxlevel, BRIEF.maxdict, BRIEF.maxlist, BRIEF.maxtuple, BRIEF.maxother, BRIEF.maxlong = 3, 8, 12, 12, 80, 80


def relative(file: Path, root: Path) -> str:
    """The path inside the folder; the whole path of a file that lies elsewhere."""
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def plural(count: int, what: str, many: str = "") -> str:
    """`1 box`, `3 boxes`: a number with its noun."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"
