"""YOLO: a data.yaml that names the splits, and one text file of normalised boxes per image."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from headstart.data.images import is_image
from headstart.data.locate import USUAL, Pictures, spellings
from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout, RawImage, RawIndex, plural, short
from headstart.data.text import read_lines
from headstart.data.tree import Tree, first_of, walk
from headstart.data.yolo_labels import KeyPoints, LabelFiles, infer_key_points, looks_like_labels, read_labels
from headstart.data.yolo_settings import YoloSplit, class_names, key_points, read_split, says, settings_file
from headstart.errors import UserError

REMEDY = "data.yaml needs a line such as `val: images/val`"

NO_LABELS = ("classes.txt", "names.txt", "obj.names", "notes.txt", "readme.txt", "license.txt")


def find_yolo(tree: Tree, given: Path | None = None) -> Layout | None:
    """The splits of data.yaml, or of another yaml file with `names` and splits; or of the one that was given."""
    file, content = settings_file(tree, given)
    if file is None:
        return None
    names, points = class_names(content, file), key_points(content, file)
    splits: dict[str, YoloSplit] = {}
    words: dict[str, str] = {}
    for split, aliases in SPLITS.items():
        word = next((name for name in aliases if says(content.get(name))), None)
        if word is not None:
            splits[split], words[split] = read_split(content, split, word, file, names, points), word
    there = {split: one for split, one in splits.items() if any(_found(tree, one, place)[0] for place in one.places)}
    absent = [
        f"{file.name} names {splits[split].places[0]}, which does not exist" for split in splits if split not in there
    ]
    # With none of them, opening a split says where it was looked for.
    there = there or splits
    remedy = "; ".join([REMEDY, *absent])
    readers = {split: partial(read_yolo, tree, one) for split, one in there.items()}
    shown = os.path.relpath(file, tree.root)
    return Layout("YOLO", readers, remedy, shown, {split: words[split] for split in there})


def read_yolo(tree: Tree, split: YoloSplit, problems: Problems) -> RawIndex:
    """The images of one split. An image without a text file, or with an empty one, has no object; both are counted.

    Lines are `class cx cy width height`, perhaps with key points behind, or `class x1 y1 x2 y2 x3 y3 ...` (a polygon,
    or the four corners of a turned box, whose bounding box is taken), as fractions of width and height. Everything
    else, and text files without an image, goes to `problems`.
    """
    pictures = Pictures(tree)
    found = [file for place in split.places for file in _place(tree, split, place, pictures, problems)]
    problems.notes += pictures.note(split.file.name)
    return read_pictures(tree.root, found, split.names, split.points, split.file, split.places, problems)


def read_pictures(
    root: Path,
    files: Sequence[str],
    names: Mapping[int, str],
    points: KeyPoints | None,
    source: Path,
    places: Sequence[str],
    problems: Problems,
) -> RawIndex:
    """The images with the boxes of their label files; `source` and `places` name where they come from in errors."""
    order = sorted(names)
    number = {label: i for i, label in enumerate(order)}
    index = RawIndex([names[label] for label in order], [], normalised=True)
    labels = LabelFiles(root)
    pairs = {file: labels.of(file) for file in files}
    labelled = [root / label for label in pairs.values() if label is not None]
    if pairs and not labelled:
        raise UserError(
            f"{source}: no label file (*.txt) belongs to the images in {root / posixpath.dirname(files[0])}; "
            "they are expected in a folder `labels` instead of `images`, or beside the images."
        )
    if points is None:
        points, said = infer_key_points(labelled)
        problems.notes += [said] if said else []
    for position, (file, label) in enumerate(pairs.items()):
        image = RawImage(file, position)
        if label is not None:
            image.boxes = read_labels(root / label, number, points, label, problems)
        index.images.append(image)
    _note_missing(pairs, problems)
    _list_orphans(root, pairs, labels, places, problems)
    return index


def _found(tree: Tree, split: YoloSplit, place: str) -> tuple[Path | None, list[Path]]:
    """What a place of data.yaml is, and where it was looked for.

    Exporters write `../train/images` for a folder beside the yaml file, and absolute paths of their own machine: of
    those the end that fits a folder here is taken.
    """
    tried = []
    for spelled in spellings(place):
        trimmed = spelled
        while trimmed.startswith(("../", "./")):
            trimmed = trimmed.split("/", 1)[1]
        bases = [split.base, split.file.parent]
        tried += [base / name for name in (spelled, trimmed) for base in bases]
    tried = list(dict.fromkeys(tried))
    for path in tried:
        try:
            if path.exists():
                return path, tried
        except (OSError, ValueError):
            continue
    parts = PurePosixPath(spellings(place)[-1]).parts
    if len(parts) > 1 and parts[0] == "/":
        for i in range(1, len(parts)):
            # `images` alone may be those of another split.
            if i < len(parts) - 1 or parts[i].lower() not in USUAL:
                path = tree.root.joinpath(*parts[i:])
                if path.exists():
                    return path, tried
    return None, tried


def _place(tree: Tree, split: YoloSplit, place: str, pictures: Pictures, problems: Problems) -> list[str]:
    """The images of a folder (with the folders inside it) or of a text file that lists them."""
    found, tried = _found(tree, split, place)
    if found is None:
        raise UserError(
            f"{split.file} names {place}, but neither {' nor '.join(map(str, tried))} exists; "
            "path and splits must be folders or lists of images."
        )
    if found.is_dir():
        files = _pictures_in(tree, found, pictures)
        if not files:
            raise UserError(f"{split.file} names {place}, but {found} holds no image.")
        return files
    if is_image(found):
        raise UserError(
            f"{split.file} names the image {place}; name a folder of images or a text file that lists them."
        )
    try:
        lines = read_lines(found)
    except ValueError as error:
        raise UserError(f"{found} is not a readable list of images: {error}.") from None
    near = [_inside(tree, folder) for folder in (found.parent, split.base)]
    files: dict[str, None] = {}
    for line in filter(None, lines):
        file = pictures.find(line, near) or posixpath.normpath(posixpath.join(near[0], line))
        if file in files:
            problems.add(_inside(tree, found), f"lists {short(line)} twice", "image")
        files[file] = None
    return list(files)


def _inside(tree: Tree, path: Path) -> str:
    """The path relative to the root, with `..` where it lies outside."""
    shown = os.path.relpath(path, tree.root)
    return "" if shown == "." else shown


def _pictures_in(tree: Tree, folder: Path, pictures: Pictures) -> list[str]:
    inside = _inside(tree, folder)
    if not inside.startswith("..") and not any(part.startswith(".") for part in inside.split("/")):
        return [file for file in tree.pictures if not inside or file.startswith(f"{inside}/")]
    found = [posixpath.join(inside, file) for file in walk(folder).pictures]
    if inside.startswith(".."):
        pictures.outside += found
    return found


def _note_missing(pairs: Mapping[str, str | None], problems: Problems) -> None:
    """One line on the images without a label file; folders in which no image has one are named."""
    missing = [file for file, label in pairs.items() if label is None]
    if missing:
        labelled = {posixpath.dirname(file) for file, label in pairs.items() if label is not None}
        folders = Counter(posixpath.dirname(file) for file in missing if posixpath.dirname(file) not in labelled)
        bare = "".join(f"; {folder or '.'} has no label file at all" for folder, _ in folders.most_common(3))
        problems.notes.append(
            f"{len(missing):,} of {plural(len(pairs), 'image')} have no label file and count as without objects: "
            f"{first_of(missing)}{bare}."
        )


def _list_orphans(
    root: Path, pairs: Mapping[str, str | None], labels: LabelFiles, places: Sequence[str], problems: Problems
) -> None:
    """Label files without an image, in the folders from which labels were read."""
    used = set(pairs.values())
    folders = {posixpath.dirname(label): posixpath.dirname(file) for file, label in pairs.items() if label is not None}
    for folder, images in folders.items():
        stems = {one.stem for one in (root / images).iterdir() if is_image(one)}
        for stem, name in labels.listed(folder).items():
            file = posixpath.join(folder, name)
            if file in used or stem in stems or name.lower() in NO_LABELS or name in places:
                continue
            if folder != images or looks_like_labels(root / file):
                problems.add(file, f"points to image {stem}, which is not in {images or 'the folder'}", "label file")
