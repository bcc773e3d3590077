"""Pascal VOC: one xml per image, and perhaps text files that list the images of each split."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import PurePosixPath

from headstart.data.locate import spellings
from headstart.data.problems import Problems
from headstart.data.raw import (
    SPLITS,
    Layout,
    RawBox,
    RawImage,
    RawIndex,
    Reader,
    flag,
    plural,
    short,
    whole,
)
from headstart.data.text import read_lines, read_xml
from headstart.data.tree import Tree, first_of, group_by_split, worth_a_look
from headstart.data.voc_folder import VocFolder, child
from headstart.errors import UserError

REMEDY = "VOC splits are lists of image names, ImageSets/Main/train.txt and val.txt, beside Annotations and JPEGImages"


def find_voc(tree: Tree) -> Layout | None:
    """The splits of the VOC xml files: by lists of their names, else by the words in the names of their folders."""
    candidates = tree.with_suffix(".xml")
    folders = {posixpath.dirname(file) for file in worth_a_look(candidates) if _is_voc(tree, file)}
    files = [file for file in candidates if posixpath.dirname(file) in folders]
    if not files:
        return None
    voc = VocFolder(tree, files)
    readers: dict[str, Reader] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for split, (word, parts) in _listed_splits(voc).items():
        readers[split], names[split] = partial(_read_listed, voc, parts), word
    if not readers:
        groups, notes = group_by_split(files, "xml file")
        for split, (word, some) in groups.items():
            readers[split], names[split] = partial(_read_beside, voc, some), word
    return Layout("VOC", readers, REMEDY, f"{plural(len(files), 'xml file')} such as {files[0]}", names, tuple(notes))


def read_voc(voc: VocFolder, files: list[str], problems: Problems) -> RawIndex:
    """The images of some xml files. Classes are the names that occur in any xml of the tree, sorted.

    Boxes are whole pixels counted from 1, both ends inclusive: 1 is subtracted from xmin and ymin, xmax and ymax are
    then the far edges. Equal corners are a slip of the mouse, not an object of one pixel. difficult becomes ignored.
    A missing or zero <size> is tolerated. What cannot be read goes to `problems`.
    """
    index = RawIndex(voc.classes, [])
    number = {name: i for i, name in enumerate(voc.classes)}
    known, used = frozenset(voc.files), set()
    for position, file in enumerate(files):
        image = _read_one(voc, file, known, number, problems)
        if image is not None and image.file in used:
            problems.add(file, f"belongs to {image.file}, as another xml file does", "image")
        elif image is not None:
            image.id = position
            index.images.append(image)
            used.add(image.file)
    return index


def _read_listed(voc: VocFolder, parts: list[tuple[str, str]], problems: Problems) -> RawIndex:
    """The images that lists name; a part is a folder of xml files and a list of names of some of them."""
    return read_voc(voc, [file for folder, names in parts for file in _listed(voc, folder, names, problems)], problems)


def _read_beside(voc: VocFolder, files: list[str], problems: Problems) -> RawIndex:
    """The images of all xml files of some folders; says how many pictures there have none."""
    index = read_voc(voc, files, problems)
    used = {image.file for image in index.images}
    folders = {posixpath.dirname(path) for path in used}
    stems = {PurePosixPath(file).stem for file in voc.files}
    others = [path for path in voc.tree.pictures if posixpath.dirname(path) in folders]
    others = [path for path in others if path not in used and PurePosixPath(path).stem not in stems]
    if others:
        has = "image has" if len(others) == 1 else "images have"
        problems.notes.append(f"{len(others):,} {has} no xml file and are left out: {first_of(others)}.")
    return index


def _is_voc(tree: Tree, file: str) -> bool:
    """Whether the root of an xml file is <annotation>. A file that cannot be read counts where all of its folder do."""
    try:
        return read_xml(tree.root / file).tag.lower() == "annotation"
    except ValueError:
        return posixpath.basename(posixpath.dirname(file)) == "Annotations"


def _listed_splits(voc: VocFolder) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Split -> the word for it, and a folder of xml files with a list of their names for each year."""
    texts = voc.tree.with_suffix(".txt")
    splits: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for folder, stems in voc.stems.items():
        home = posixpath.dirname(folder)
        below = [text for text in texts if text.startswith(f"{home}/" if home else "")]
        if any("ImageSets" in text.split("/") for text in below):
            below = [text for text in below if "ImageSets" in text.split("/") and "Segmentation" not in text.split("/")]
        lists = [text for text in reversed(below) if _lists_names(voc, text, stems)]
        named = {PurePosixPath(text).stem.lower(): text for text in lists}
        for split, names in SPLITS.items():
            word = next((name for name in names if name in named), None)
            if word is not None:
                splits.setdefault(split, (word, []))[1].append((folder, named[word]))
    return splits


def _lists_names(voc: VocFolder, text: str, stems: set[str]) -> bool:
    """Whether a text file is named after a split; outside ImageSets it must list at least one xml file, too."""
    if PurePosixPath(text).stem.lower() not in {name for names in SPLITS.values() for name in names}:
        return False
    if "ImageSets" in text.split("/"):
        return True
    try:
        lines = [line for line in read_lines(voc.tree.root / text)[:50] if line]
    except ValueError:
        return False
    return any(_stem_of(line, stems) in stems for line in lines)


def _listed(voc: VocFolder, folder: str, names: str, problems: Problems) -> list[str]:
    """The xml files of a list, each once. A line is a name, perhaps with a path or suffix, perhaps with 1, 0 or -1."""
    try:
        lines = read_lines(voc.tree.root / names)
    except ValueError as error:
        raise UserError(f"{voc.tree.root / names} is not a readable list of image names: {error}.") from None
    stems = voc.stems[folder]
    found: dict[str, None] = {}
    for line in filter(None, lines):
        stem = _stem_of(line, stems)
        file = f"{folder}/{stem}.xml" if folder else f"{stem}.xml"
        if file in found:
            problems.add(names, f"lists {short(stem)} twice", "image")
        found[file] = None
    return list(found)


def _stem_of(line: str, stems: set[str]) -> str:
    """The name that a line of a list means: the one for which there is an xml file, else the line without its flag."""
    first, *flags = line.rsplit(None, 1)
    flagged = bool(flags) and flags[0] in ("1", "0", "-1")
    for text in (line, first) if flagged else (line,):
        for spelled in spellings(text):
            base = posixpath.basename(spelled)
            for stem in (spelled, base, posixpath.splitext(base)[0]):
                if stem in stems:
                    return stem
    return first if flagged else line


def _read_one(
    voc: VocFolder, file: str, known: frozenset[str], number: dict[str, int], problems: Problems
) -> RawImage | None:
    """One image with its boxes; None, and a problem, if its xml or its image is missing."""
    if file not in known:
        return problems.add(file, "is listed, but this annotation file does not exist", "image")
    root = voc.read(file)
    if isinstance(root, str):
        return problems.add(file, root, "image")
    path = voc.picture(file)
    if path is None:
        name = child(root, "filename") or PurePosixPath(file).stem
        reason = f"points to image {short(PurePosixPath(file).stem)}, which is not in {_where(voc, file)}"
        return problems.add(file, reason + (f" (nor is {short(name)})" if name not in reason else ""), "image")
    size = whole(child(root, "size/height")), whole(child(root, "size/width"))
    image = RawImage(path, 0, (size[0], size[1]) if size[0] and size[1] and min(size[0], size[1]) > 0 else None)
    for element in root.iter("object"):
        try:
            image.boxes.append(_read_box(element, number))
        except ValueError as error:
            problems.add(file, str(error))
    return image


def _read_box(element: ElementTree.Element, number: dict[str, int]) -> RawBox:
    """Raises ValueError with the reason."""
    name = child(element, "name")
    if not name:
        raise ValueError("an object has no class name")
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = child(element, f"bndbox/{side}")
        try:
            corners.append(float(text))
        except ValueError:
            raise ValueError(f"the {side} of a {short(name)} is not a number but {short(text)}") from None
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) has no area")
    try:
        ignored = flag(child(element, "difficult"))
    except ValueError as error:
        raise ValueError(f"difficult of a {short(name)}: {error}") from None
    return x1 - 1, y1 - 1, x2, y2, number[name], ignored


def _where(voc: VocFolder, file: str) -> str:
    """The folder in which the picture of an xml file should be, for messages."""
    home = posixpath.dirname(posixpath.dirname(file))
    folders = dict.fromkeys(posixpath.dirname(path) for path in voc.tree.pictures)
    near = [folder for folder in folders if posixpath.dirname(folder) == home and "images" in folder.lower()]
    return near[0] if near else "the folder"
