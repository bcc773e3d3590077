"""Pascal VOC: one xml per image, and text files that list the images of each split."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headstart.data.images import is_image
from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout, RawBox, RawImage, RawIndex, is_file, relative, short
from headstart.errors import UserError

REMEDY = "VOC splits are lists of image names, ImageSets/Main/train.txt and val.txt, beside Annotations and JPEGImages"


@dataclass(frozen=True)
class VocPart:
    """Where images and xml files lie, and the list of names; without a list, every xml there is meant."""

    images: Path
    annotations: Path
    listed: Path | None


def find_voc(root: Path) -> Layout | None:
    """The splits of VOCdevkit/VOC20xx, of one such folder, or of {train,valid,test} with xml beside the images."""
    folders = [root, *sorted(root.glob("VOC[0-9]*")), *sorted(root.glob("VOCdevkit/VOC[0-9]*"))]
    folders = [folder for folder in folders if _has_xml(folder / "Annotations")]
    splits: dict[str, list[VocPart]] = {}
    for folder in folders:
        for split, names in SPLITS.items():
            for file in (folder / "ImageSets" / "Main" / f"{name}.txt" for name in names):
                if file.is_file():
                    splits.setdefault(split, []).append(VocPart(_image_folder(folder), folder / "Annotations", file))
    for split, names in SPLITS.items():
        for folder in (root / name for name in names):
            if not folders and _has_xml(folder):
                splits[split] = [VocPart(folder, folder, None)]
    if not splits and not folders:
        return None
    return Layout("VOC", {split: partial(read_voc, root, splits, parts) for split, parts in splits.items()}, REMEDY)


def read_voc(root: Path, splits: dict[str, list[VocPart]], parts: list[VocPart], problems: Problems) -> RawIndex:
    """The images of one split. Classes are the names that occur in any xml of the folder, sorted.

    Boxes are whole pixels counted from 1, both ends inclusive: 1 is subtracted from xmin and ymin, xmax and ymax are
    then the far edges. Equal corners are a slip of the mouse, not an object of one pixel. difficult=1 becomes
    ignored. A missing or zero <size> is tolerated. What cannot be read goes to `problems`.
    """
    folders = {part.annotations for others in splits.values() for part in others}
    classes = sorted({name for folder in folders for file in folder.glob("*.xml") for name in _names(file)})
    index = RawIndex(classes, [])
    number = {name: i for i, name in enumerate(classes)}
    position = 0
    for part in parts:
        files = {file.stem: file for file in sorted(part.images.iterdir()) if is_image(file)}
        for name in _listed(part, root, problems):
            image = _read_one(root, part, name, files, number, problems)
            if image is not None:
                image.id = position
                index.images.append(image)
            position += 1
    return index


def _read_one(
    root: Path, part: VocPart, name: str, files: dict[str, Path], number: dict[str, int], problems: Problems
) -> RawImage | None:
    """One image with its boxes; None, and a problem, if its xml or its image is missing."""
    annotation = part.annotations / f"{name}.xml"
    shown = relative(annotation, root)
    if not is_file(annotation):
        return problems.add(shown, "is listed, but this annotation file does not exist", "image")
    try:
        tree = ElementTree.parse(annotation).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        return problems.add(shown, f"is not readable xml ({short(error)})", "image")
    file = files.get(name)
    if file is None:
        return problems.add(shown, f"points to image {name}, which is not in {relative(part.images, root)}", "image")
    image = RawImage(relative(file, root), 0, _size(tree))
    for element in tree.iter("object"):
        try:
            image.boxes.append(_read_box(element, number))
        except ValueError as error:
            problems.add(shown, str(error))
    return image


def _read_box(element: ElementTree.Element, number: dict[str, int]) -> RawBox:
    """Raises ValueError with the reason."""
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no class name")
    corners = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{side}")
        try:
            corners.append(float(text or ""))
        except ValueError:
            raise ValueError(f"the {side} of a {short(name)} is not a number but {short(text)}") from None
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) has no area")
    return x1 - 1, y1 - 1, x2, y2, number[name], (element.findtext("difficult") or "").strip() == "1"


def _size(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        size = int(tree.findtext("size/height") or 0), int(tree.findtext("size/width") or 0)
    except ValueError:
        return None
    return size if min(size) > 0 else None


def _names(file: Path) -> Iterator[str]:
    try:
        tree = ElementTree.parse(file)
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        return
    for element in tree.iter("object"):
        name = (element.findtext("name") or "").strip()
        if name:
            yield name


def _listed(part: VocPart, root: Path, problems: Problems) -> list[str]:
    """The image names of the split, each once; a list may carry a second column of 1, 0 or -1."""
    if part.listed is None:
        return sorted(file.stem for file in part.annotations.glob("*.xml"))
    try:
        lines = part.listed.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{part.listed} is not a readable list of image names: {short(error)}.") from None
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, lines)):
        first, *flag = line.rsplit(None, 1)
        name = first if flag and flag[0] in ("1", "0", "-1") else line
        if name in names:
            problems.add(relative(part.listed, root), f"lists {short(name)} twice", "image")
        names[name] = None
    return list(names)


def _image_folder(folder: Path) -> Path:
    for name in ("JPEGImages", "images", "Images"):
        if (folder / name).is_dir():
            return folder / name
    raise UserError(f"{folder} has Annotations but no folder JPEGImages with the images; add it.")


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and next(folder.glob("*.xml"), None) is not None
