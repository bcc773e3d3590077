"""CVAT's own xml ("CVAT for images"): one file with all images, boxes and polygons."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from headstart.data.locate import Pictures
from headstart.data.problems import Problems
from headstart.data.raw import ALL, SPLITS, Layout, RawBox, RawImage, RawIndex, find_split, number, short, whole
from headstart.data.text import read_xml
from headstart.data.tree import Tree, worth_a_look
from headstart.errors import UserError

REMEDY = "CVAT writes the subset of an image, such as Train or Validation, into the xml"


def find_cvat(tree: Tree) -> Layout | None:
    """The splits of the only xml file whose root is <annotations>: the subsets that its images name."""
    found = [
        (file, root) for file in worth_a_look(tree.with_suffix(".xml")) if (root := _root(tree.root / file)) is not None
    ]
    if not found:
        return None
    file, root = found[0]
    images = list(root.iter("image"))
    groups: dict[str, list[ElementTree.Element]] = {}
    names: dict[str, str] = {}
    for image in images:
        split, word = find_split(f"{image.get('subset') or ''}/_") or (ALL, ALL)
        groups.setdefault(split, []).append(image)
        names.setdefault(split, word)
    if not images or len(found) > 1:
        what = "several CVAT files" if len(found) > 1 else "a CVAT file without images (of a film?)"
        readers = {ALL: partial(_refuse, f"{tree.root} has {what}, {', '.join(one for one, _ in found[:8])}")}
        return Layout("CVAT", readers, REMEDY, file)
    order = [split for split in (*SPLITS, ALL) if split in groups]
    classes = sorted({label for image in images for shape in _boxes(image) if (label := _label(shape))})
    listed = [label.strip() for one in root.findall("./meta//labels/label/name") if (label := one.text or "").strip()]
    classes = list(dict.fromkeys([*listed, *classes]))
    return Layout(
        "CVAT",
        {split: partial(read_cvat, tree, file, groups[split], classes) for split in order},
        REMEDY,
        file,
        {split: names[split] for split in order},
    )


def read_cvat(
    tree: Tree, file: str, images: list[ElementTree.Element], classes: list[str], problems: Problems
) -> RawIndex:
    """Some images of the xml. Boxes are xtl, ytl, xbr, ybr in pixels; of polygons the bounding box is taken.

    Classes are those of the task, in its order. Other shapes are counted; what cannot be read goes to `problems`.
    """
    pictures, index = Pictures(tree), RawIndex(classes, [])
    folder = posixpath.dirname(file)
    near = list(dict.fromkeys([folder, posixpath.join(folder, "images"), "images", ""]))
    labels, others = {name: i for i, name in enumerate(classes)}, Counter[str]()
    used: set[str] = set()
    for position, element in enumerate(images):
        name = element.get("name") or ""
        path = pictures.find(name, near) if name else None
        if path is None or path in used:
            reason = "is listed twice" if path else "is not in the folder"
            problems.add(file, f"image {short(name or position)} {reason}", "image")
            continue
        used.add(path)
        height, width = whole(element.get("height")), whole(element.get("width"))
        image = RawImage(path, position, (height, width) if height and width and min(height, width) > 0 else None)
        for shape in _boxes(element):
            try:
                image.boxes.append(_read_shape(shape, labels))
            except ValueError as error:
                problems.add(path, str(error))
        others.update(
            shape.tag for shape in element if shape.tag in ("polyline", "points", "mask", "ellipse", "cuboid")
        )
        index.images.append(image)
    if others:
        counts = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
        problems.notes.append(f"shapes without a box are left out: {counts}.")
    problems.notes += pictures.note(file)
    return index


def _root(file: Path) -> ElementTree.Element | None:
    try:
        root = read_xml(file)
    except ValueError:
        return None
    return root if root.tag == "annotations" else None


def _refuse(what: str, problems: Problems) -> RawIndex:
    raise UserError(f"{what}; export the task as COCO, or keep one file of images.")


def _boxes(image: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return (shape for shape in image if shape.tag in ("box", "polygon"))


def _label(shape: ElementTree.Element) -> str:
    return (shape.get("label") or "").strip()


def _read_shape(shape: ElementTree.Element, labels: dict[str, int]) -> RawBox:
    """Raises ValueError with the reason."""
    label = _label(shape)
    if not label:
        raise ValueError(f"a {shape.tag} has no label")
    try:
        if shape.tag == "box":
            x1, y1, x2, y2 = (number(shape.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
        else:
            points = [[number(value) for value in pair.split(",")] for pair in (shape.get("points") or "").split(";")]
            xs, ys = zip(*points, strict=True)
            x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
    except ValueError:
        raise ValueError(
            f"a {shape.tag} of {short(label)} has corners that are not numbers: {short(shape.attrib)}"
        ) from None
    return x1, y1, x2, y2, labels[label], False
