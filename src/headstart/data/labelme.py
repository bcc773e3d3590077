"""LabelMe: one json per image, with rectangles and polygons."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from headstart.data.locate import Pictures
from headstart.data.problems import Problems
from headstart.data.raw import (
    Layout,
    RawBox,
    RawImage,
    RawIndex,
    flag,
    number,
    plural,
    short,
    whole,
)
from headstart.data.text import peek, read_json
from headstart.data.tree import Tree, first_of, group_by_split, worth_a_look

REMEDY = "LabelMe splits are folders train and val of json files"

BOXES = ("rectangle", "polygon", "")
"""Shapes with a bounding box that is the object's; files of old versions do not name the shape."""

OTHER = "is no LabelMe json"


@dataclass
class LabelMeFolder:
    """The json files of a tree, each read once: without the copy of the picture that they carry."""

    tree: Tree
    files: list[str]
    contents: dict[str, dict[str, object] | str] = field(default_factory=dict)

    def read(self, file: str) -> dict[str, object] | str:
        """What a file says, or why it cannot be read."""
        if file not in self.contents:
            try:
                content = read_json(self.tree.root / file)
                known = isinstance(content, dict) and isinstance(content.get("shapes"), list)
                self.contents[file] = {**content, "imageData": None} if known else OTHER
            except ValueError as error:
                self.contents[file] = f"is not a readable json file ({short(error, 240)})"
        return self.contents[file]

    @cached_property
    def classes(self) -> list[str]:
        """The labels of all shapes that are read, sorted."""
        contents = [content for file in self.files if not isinstance(content := self.read(file), str)]
        shapes = [shape for content in contents for shape in _shapes(content)]
        return sorted({_label(shape) for shape in shapes if _kind(shape) in BOXES} - {""})


def find_labelme(tree: Tree) -> Layout | None:
    """The splits of the LabelMe files, by the words in the names of their folders."""
    candidates = tree.with_suffix(".json")
    folders = {posixpath.dirname(file) for file in worth_a_look(candidates) if looks_like_labelme(tree.root / file)}
    files = [file for file in candidates if posixpath.dirname(file) in folders]
    if not files:
        return None
    labelme = LabelMeFolder(tree, files)
    groups, notes = group_by_split(files, "json file")
    readers = {split: partial(read_labelme, labelme, some) for split, (_, some) in groups.items()}
    names = {split: word for split, (word, _) in groups.items()}
    source = f"{plural(len(files), 'json file')} such as {files[0]}"
    return Layout("LabelMe", readers, REMEDY, source, names, tuple(notes))


def read_labelme(labelme: LabelMeFolder, files: list[str], problems: Problems) -> RawIndex:
    """The images of some json files. Classes are the labels in all of them, sorted.

    Of rectangles and polygons the bounding box is taken; shapes without one (points, lines, circles, masks) are
    counted. What cannot be read goes to `problems`.
    """
    index, pictures = RawIndex(labelme.classes, []), Pictures(labelme.tree)
    labels = {name: i for i, name in enumerate(labelme.classes)}
    others: Counter[str] = Counter()
    used: dict[str, str] = {}
    strangers: list[str] = []
    for position, file in enumerate(files):
        content = labelme.read(file)
        if isinstance(content, str):
            if content == OTHER:
                strangers.append(file)
            else:
                problems.add(file, content, "image")
            continue
        path = _picture(pictures, file, content)
        if path is None or path in used:
            name = short(content.get("imagePath") or PurePosixPath(file).stem)
            where = "which is not in the folder" if path is None else f"as {used[path]} does"
            problems.add(file, f"points to image {name}, {where}", "image")
            continue
        used[path] = file
        height, width = whole(content.get("imageHeight")), whole(content.get("imageWidth"))
        image = RawImage(path, position, (height, width) if height and width and min(height, width) > 0 else None)
        for shape in _shapes(content):
            if _kind(shape) not in BOXES:
                others[_kind(shape)] += 1
                continue
            try:
                image.boxes.append(_read_shape(shape, labels))
            except (ValueError, OverflowError) as error:
                problems.add(file, str(error))
        index.images.append(image)
    if others:
        counts = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
        problems.notes.append(f"shapes without a box are left out: {counts}.")
    if strangers:
        problems.notes.append(f"passed over, as no LabelMe files: {first_of(strangers)}.")
    problems.notes += pictures.note("LabelMe")
    return index


def looks_like_labelme(file: Path) -> bool:
    """Whether a json file has `shapes` and the path of an image, as far as its beginning and end show."""
    return {b"shapes", b"imagePath"} <= set(re.findall(rb'"(shapes|imagePath)"\s*:', peek(file)))


def _picture(pictures: Pictures, file: str, content: dict[str, object]) -> str | None:
    folder, listed = posixpath.dirname(file), content.get("imagePath")
    if isinstance(listed, str) and listed and "\0" not in listed and (path := pictures.find(listed, [folder])):
        return path
    return pictures.find(PurePosixPath(file).stem, [folder])


def _shapes(content: dict[str, object]) -> list[dict[str, object]]:
    shapes = content.get("shapes")
    return [shape if isinstance(shape, dict) else {} for shape in shapes] if isinstance(shapes, list) else []


def _kind(shape: dict[str, object]) -> str:
    return str(shape.get("shape_type") or "").strip().lower()


def _label(shape: dict[str, object]) -> str:
    label = shape.get("label")
    return str(label).strip() if isinstance(label, str | int | float) and not isinstance(label, bool) else ""


def _read_shape(shape: dict[str, object], labels: dict[str, int]) -> RawBox:
    """Raises ValueError with the reason."""
    label, points = _label(shape), shape.get("points")
    if not label:
        raise ValueError("a shape has no label")
    least = 3 if _kind(shape) == "polygon" else 2
    pairs = (
        [point for point in points if isinstance(point, list) and len(point) == 2] if isinstance(points, list) else []
    )
    if len(pairs) < least or not isinstance(points, list) or len(pairs) < len(points):
        raise ValueError(
            f"a {_kind(shape) or 'shape'} of {short(label)} needs {least} or more points, found {short(points)}"
        )
    xs, ys = ([number(point[i]) for point in pairs] for i in (0, 1))
    return min(xs), min(ys), max(xs), max(ys), labels[label], flag(shape.get("difficult"))
