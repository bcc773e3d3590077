"""YOLO labels without a data.yaml: the exports of Label Studio, LabelImg, CVAT and darknet."""

from __future__ import annotations

import posixpath
from functools import partial
from pathlib import Path, PurePosixPath

from headstart.data.images import is_image
from headstart.data.locate import Pictures
from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout, RawIndex, Reader, plural, short, whole
from headstart.data.text import read_json, read_lines
from headstart.data.tree import Tree, group_by_split
from headstart.data.yolo import read_pictures
from headstart.data.yolo_labels import LabelFiles, looks_like_labels
from headstart.errors import UserError

REMEDY = "YOLO splits without a data.yaml are folders images/train and images/val, or train and val"

NAMES = (
    "classes.txt",
    "obj.names",
    "_darknet.labels",
    "class.names",
    "coco.names",
    "names.txt",
    "predefined_classes.txt",
)
"""Files that list class names, one a line, the most usual first."""


def find_yolo_plain(tree: Tree) -> Layout | None:
    """The splits of pictures with label files, by lists named after them, else by the words in the folders' names."""
    if any(posixpath.basename(file) == "data.yaml" for file in tree.with_suffix(".yaml")):
        return None
    pairs = _labelled(tree)
    if not pairs:
        return None
    folders = {posixpath.dirname(file) for file in pairs}
    files = [file for file in tree.pictures if posixpath.dirname(file) in folders]
    readers: dict[str, Reader] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for split, text in _lists(tree).items():
        readers[split], names[split] = partial(_read_listed, tree, text), PurePosixPath(text).stem
    if not readers:
        groups, notes = group_by_split(files, "image")
        for split, (word, some) in groups.items():
            readers[split], names[split] = partial(_read, tree, some), word
    source = f"{plural(len(pairs), 'label file')} such as {next(iter(pairs.values()))}"
    return Layout("YOLO", readers, REMEDY, source, names, tuple(notes))


def _labelled(tree: Tree) -> dict[str, str]:
    """Picture -> its label file, if the first label files that have lines look like some."""
    if not tree.with_suffix(".txt"):
        return {}
    labels = LabelFiles(tree.root)
    pairs = {file: label for file in tree.pictures if (label := labels.of(file)) is not None}
    for tried, label in enumerate(pairs.values()):
        if looks_like_labels(tree.root / label):
            return pairs
        if tried > 200:
            break
    return {}


def _lists(tree: Tree) -> dict[str, str]:
    """Split -> the text file, named after it, whose lines are names of image files."""
    found: dict[str, str] = {}
    for text in tree.with_suffix(".txt"):
        stem = PurePosixPath(text).stem.lower()
        split = next((split for split, names in SPLITS.items() if stem in names), None)
        if split is not None and split not in found:
            try:
                first = next((line for line in read_lines(tree.root / text) if line), "")
            except ValueError:
                continue
            if is_image(Path(first)):
                found[split] = text
    return found


def _read(tree: Tree, files: list[str], problems: Problems) -> RawIndex:
    names, source = _names(tree, files)
    return read_pictures(tree.root, files, names, None, tree.root / source, (), problems)


def _read_listed(tree: Tree, text: str, problems: Problems) -> RawIndex:
    """The images that a list names; darknet writes their paths as seen from another folder."""
    pictures = Pictures(tree)
    files: dict[str, None] = {}
    for line in filter(None, read_lines(tree.root / text)):
        file = pictures.find(line, [posixpath.dirname(text)]) or posixpath.join(posixpath.dirname(text), line)
        if file in files:
            problems.add(text, f"lists {short(line)} twice", "image")
        files[file] = None
    problems.notes += pictures.note(text)
    return _read(tree, list(files), problems)


def _names(tree: Tree, files: list[str]) -> tuple[dict[int, str], str]:
    """The class names and the file that lists them. Raises UserError if there is none, or several that differ."""
    everywhere = [file for files in tree.files.values() for file in files]
    for wanted in NAMES:
        found = {file: _listed_names(tree, file) for file in everywhere if posixpath.basename(file).lower() == wanted}
        if len(set(found.values())) > 1:
            raise UserError(f"{tree.root} has class names that differ, in {' and '.join(found)}; make them the same.")
        if found:
            file, names = next(iter(found.items()))
            doubled = sorted({name for name in names if names.count(name) > 1})
            if doubled or not names:
                raise UserError(f"{tree.root / file} has {', '.join(doubled) or 'no name'}{' twice' * bool(doubled)}.")
            return dict(enumerate(names)), file
    for file in tree.with_suffix(".json"):
        if posixpath.basename(file) == "notes.json" and (names := _label_studio_names(tree, file)):
            return names, file
    labels = LabelFiles(tree.root)
    count = len([file for file in files if labels.of(file)])
    raise UserError(
        f"{tree.root} has {plural(len(files), 'image')} and {plural(count, 'YOLO label file')}, but no class names; "
        "add a file classes.txt with the name of class 0 in the first line, that of class 1 in the next, and so on."
    )


def _listed_names(tree: Tree, file: str) -> tuple[str, ...]:
    try:
        lines = read_lines(tree.root / file)
    except ValueError as error:
        raise UserError(f"{tree.root / file} is not a readable list of class names: {error}.") from None
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise UserError(
            f"{tree.root / file}: line {lines.index('') + 1} is empty; give each class a line with its name."
        )
    return tuple(lines)


def _label_studio_names(tree: Tree, file: str) -> dict[int, str]:
    """`categories` of Label Studio's notes.json: objects with id and name."""
    try:
        content = read_json(tree.root / file, words=True)
    except ValueError:
        return {}
    listed = content.get("categories") if isinstance(content, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    found = {whole(entry.get("id")): entry.get("name") for entry in entries}
    return {
        key: name.strip() for key, name in found.items() if key is not None and isinstance(name, str) and name.strip()
    }
