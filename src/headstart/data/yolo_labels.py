"""YOLO's label files: which belongs to a picture, and which of the dialects its lines are in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from headstart.data.problems import Problems
from headstart.data.raw import RawBox, plural, short
from headstart.data.text import read_lines

SLACK = 0.01
"""How far above 1 or below 0 rounding may carry a normalised number."""

LOOKED_AT = 200
"""So many label files of a split decide which dialect its longer lines are in."""

MOSTLY = 0.95
"""Part of the lines that must make sense as key points for them to be read as such."""

LABEL_LINE = re.compile(r"\d+(\.0*)?(\s+[-+]?[\d.]+(e[-+]?\d+)?){4,}", re.IGNORECASE)


class KeyPoints(NamedTuple):
    """Lines are a class, a box and `count` points of `width` numbers (x, y, perhaps how visible)."""

    count: int
    width: int


class LabelFiles:
    """Finds the label file of a picture: with `labels` for `images` in its path, or beside it. Lists folders once."""

    def __init__(self, root: Path):
        self.root = root
        self._listed: dict[str, dict[str, str]] = {}

    def of(self, picture: str) -> str | None:
        """The path, relative to the root or absolute like the picture's own; the suffix may be in capitals."""
        folder, stem = posixpath.dirname(picture), posixpath.splitext(posixpath.basename(picture))[0]
        for place in self.folders(folder):
            if (name := self.listed(place).get(stem)) is not None:
                return posixpath.join(place, name)
        return None

    def folders(self, folder: str) -> list[str]:
        """Where the label files for a folder of pictures may be."""
        parts = folder.split("/")
        places = [
            "/".join([*parts[:i], "labels", *parts[i + 1 :]])
            for i in reversed(range(len(parts)))
            if parts[i].lower() == "images"
        ]
        return [*places, folder]

    def listed(self, folder: str) -> dict[str, str]:
        """Stem -> name of the text files of a folder that are not hidden."""
        if folder not in self._listed:
            try:
                names = sorted(file.name for file in (self.root / folder).iterdir())
            except OSError:
                names = []
            texts = [name for name in names if name.lower().endswith(".txt") and not name.startswith(".")]
            self._listed[folder] = {name[:-4]: name for name in texts}
        return self._listed[folder]


def looks_like_labels(file: Path) -> bool:
    """Whether the first line of a text file is a class number and four or more numbers."""
    try:
        first = next((line for line in read_lines(file) if line), "")
    except ValueError:
        return False
    return LABEL_LINE.fullmatch(first) is not None


def read_labels(
    file: Path, number: dict[int, int], points: KeyPoints | None, shown: str, problems: Problems
) -> list[RawBox]:
    """The boxes of a label file, as fractions of the image; lines that cannot be read go to `problems`.

    number  class number in the files -> number in the list of names
    points  set if the lines carry key points behind the box
    """
    try:
        lines = read_lines(file)
    except ValueError as error:
        problems.add(shown, f"is not a readable text file ({error})")
        return []
    boxes = []
    for row, line in enumerate(lines, 1):
        if line:
            try:
                boxes.append(_read_line(line.split(), number, points))
            except ValueError as error:
                problems.add(shown, f"line {row}: {error}")
    return boxes


def infer_key_points(files: Sequence[Path]) -> tuple[KeyPoints | None, str]:
    """Whether the longer lines of label files are boxes with key points although nothing says so, and what to tell.

    7 or more numbers may be a polygon or a box with points. They are taken for points if all longer lines have the
    same length and either each third number behind the box is 0, 1 or 2 (how visible a point is), or the points lie
    inside the box while its width and height, taken for a place, do not.
    """
    rows = _long_rows(files[:: max(1, len(files) // LOOKED_AT)][: 2 * LOOKED_AT])
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        return None, ""
    (length,) = lengths
    for width in (3, 2):
        count, rest = divmod(length - 5, width)
        if count < 1 or rest:
            continue
        points = KeyPoints(count, width)
        sensible = sum(_makes_sense(row, points) for row in rows)
        apart = sum(not _inside(row[3], row[4], row) for row in rows)
        if sensible >= MOSTLY * len(rows) and (width == 3 or apart >= len(rows) / 2):
            return points, (
                f"label lines of {length} numbers are read as a box with {plural(count, 'key point')} of {width}, "
                f"as their values fit that; data.yaml can say so with kpt_shape: [{count}, {width}]."
            )
    if length == 9:
        return None, "label lines of 9 numbers are read as four corners, whose upright bounding box is taken."
    return None, ""


def _long_rows(files: Sequence[Path]) -> list[list[float]]:
    rows = []
    for file in files:
        try:
            lines = [line.split() for line in read_lines(file)]
            rows += [[float(field) for field in line] for line in lines if len(line) > 6]
        except ValueError:
            continue
    return rows


def _makes_sense(row: list[float], points: KeyPoints) -> bool:
    """Whether the first four numbers are a box inside the image and what follows points inside the box."""
    x, y, width, height = row[1:5]
    if min(x - width / 2, y - height / 2) < -SLACK or max(x + width / 2, y + height / 2) > 1 + SLACK:
        return False
    seen = [row[i : i + points.width] for i in range(5, len(row), points.width)]
    if points.width == 3:
        if any(point[2] not in (0, 1, 2) for point in seen):
            return False
        seen = [point for point in seen if point[2]]
    return all(_inside(point[0], point[1], row) or (point[0] == 0 and point[1] == 0) for point in seen)


def _inside(x: float, y: float, row: list[float]) -> bool:
    return abs(x - row[1]) <= row[3] / 2 + SLACK and abs(y - row[2]) <= row[4] / 2 + SLACK


def _read_line(fields: list[str], number: dict[int, int], points: KeyPoints | None) -> RawBox:
    """Raises ValueError with the reason."""
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"not all are numbers: {short(' '.join(fields))}") from None
    label, places = values[0], values[1:]
    if label not in number:
        raise ValueError(f"class {fields[0]} is not among the {len(number)} names of data.yaml")
    if points is not None:
        length = 5 + points.count * points.width
        if len(fields) not in (5, length):
            raise ValueError(f"expected 5 or, with {points.count} key points, {length} numbers, found {len(fields)}")
        places = places[:4]
    if not (len(places) == 4 or (len(places) >= 6 and len(places) % 2 == 0)):
        raise ValueError(
            f"expected a class and 4 numbers, or a polygon of 3 or more points, found {len(fields)} numbers"
        )
    if not all(-SLACK <= value <= 1 + SLACK for value in places):
        raise ValueError(f"numbers must lie between 0 and 1, found {short(' '.join(fields[1:]))}")
    if len(places) == 4:
        x, y, width, height = places
        x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        x1, y1, x2, y2 = min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2])
    return x1, y1, x2, y2, number[int(label)], False
