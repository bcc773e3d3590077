"""YOLO: a data.yaml that names the splits, and one text file of normalised boxes per image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from headstart.data.images import is_image
from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout, RawBox, RawImage, RawIndex, is_file, relative, short
from headstart.errors import UserError

REMEDY = "data.yaml needs a line such as `val: images/val`"

SLACK = 0.01
"""How far above 1 or below 0 rounding may carry a normalised number."""


@dataclass(frozen=True)
class YoloSplit:
    """names: label number in the files -> class name; places: what data.yaml says, one or several folders or lists."""

    file: Path
    base: Path
    names: dict[int, str]
    places: list[str]


def find_yolo(root: Path) -> Layout | None:
    """The splits of data.yaml, or of the folder's only yaml file with `names` in it; root may be that file itself."""
    files = [root] if root.is_file() else [root / "data.yaml", *sorted(root.glob("*.y*ml"))]
    for file in files:
        if file.suffix not in (".yaml", ".yml") or not file.is_file():
            continue
        meant = file == root or file.name == "data.yaml"
        try:
            content = _load(file)
        except UserError:
            if meant:
                raise
            continue
        if meant or ("names" in content and "train" in content):
            names = _class_names(content, file)
            splits = {split: _split(content, split, file, names) for split in SPLITS}
            found = {split: value for split, value in splits.items() if value is not None}
            return Layout("YOLO", {split: partial(read_yolo, file.parent, found[split]) for split in found}, REMEDY)
    return None


def read_yolo(root: Path, split: YoloSplit, problems: Problems) -> RawIndex:
    """The images of one split. An image without a text file, or with an empty one, has no object.

    Lines are `class cx cy width height`, or `class x1 y1 x2 y2 x3 y3 ...` (a polygon, whose bounding box is taken),
    as fractions of width and height. Everything else, and text files without an image, goes to `problems`.
    """
    order = sorted(split.names)
    number = {label: i for i, label in enumerate(order)}
    index = RawIndex([split.names[label] for label in order], [], normalised=True)
    files = [file for place in split.places for file in _image_files(split, place, root, problems)]
    folders = {folder: _label_folder(folder) for folder in dict.fromkeys(file.parent for file in files)}
    if files and not any(folders.values()):
        raise UserError(
            f"{split.file}: no label file (*.txt) belongs to the images in {files[0].parent}; "
            "they are expected in a folder `labels` instead of `images`, or beside the images."
        )
    for position, file in enumerate(dict.fromkeys(files)):
        folder = folders[file.parent]
        image = RawImage(relative(file, root), position)
        labels = folder / f"{file.stem}.txt" if folder else None
        if labels is not None and is_file(labels):
            image.boxes = _read_labels(labels, number, relative(labels, root), problems)
        index.images.append(image)
    for folder, labels in folders.items():
        if labels is not None:
            _list_orphans(folder, labels, split, root, problems)
    return index


def _read_labels(file: Path, number: dict[int, int], shown: str, problems: Problems) -> list[RawBox]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(shown, f"is not a readable text file ({short(error)})")
        return []
    boxes = []
    for row, line in enumerate(lines, 1):
        if line.strip():
            try:
                boxes.append(_read_line(line.split(), number))
            except ValueError as error:
                problems.add(shown, f"line {row}: {error}")
    return boxes


def _read_line(fields: list[str], number: dict[int, int]) -> RawBox:
    """Raises ValueError with the reason."""
    try:
        values = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"not all are numbers: {short(' '.join(fields))}") from None
    label, places = values[0], values[1:]
    if label not in number:
        raise ValueError(f"class {fields[0]} is not among the {len(number)} names of data.yaml")
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


def _load(file: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} is not a readable yaml file: {short(error)}.") from None
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def _class_names(content: dict[str, object], file: Path) -> dict[int, str]:
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise UserError(f"{file} needs `names`, a list of the class names, found {short(names)}.")
    labels = [key for key in names if isinstance(key, int) and not isinstance(key, bool) and key >= 0]
    if len(labels) < len(names):
        raise UserError(f"{file}: the keys of `names` must be whole numbers from 0, found {short(list(names))}.")
    texts = [str(name) for name in names.values()]
    doubled = sorted({name for name in texts if texts.count(name) > 1})
    if doubled:
        raise UserError(f"{file}: `names` has {', '.join(doubled)} twice.")
    if content.get("nc") not in (None, len(names)):
        raise UserError(f"{file}: nc says {short(content['nc'])} classes, but `names` has {len(names)}.")
    return dict(zip(labels, texts))


def _split(content: dict[str, object], split: str, file: Path, names: dict[int, str]) -> YoloSplit | None:
    places = next((content[name] for name in SPLITS[split] if content.get(name)), None)
    if places is None:
        return None
    places = places if isinstance(places, list) else [places]
    texts = [place for place in places if isinstance(place, str)]
    base = content.get("path") or "."
    if not isinstance(base, str) or len(texts) < len(places):
        raise UserError(f"{file}: path and {split} must be folders or lists of them, found {short(places)}.")
    return YoloSplit(file, file.parent / base, names, texts)


def _image_files(split: YoloSplit, place: str, root: Path, problems: Problems) -> list[Path]:
    """The images of a folder (with the folders inside it) or of a text file that lists them."""
    found = [path for path in _candidates(split, place) if path.exists()]
    if not found:
        raise UserError(
            f"{split.file} names {place}, but neither {' nor '.join(map(str, _candidates(split, place)))} exists."
        )
    if found[0].is_dir():
        files = [file for file in sorted(found[0].rglob("*")) if is_image(file)]
        if not files:
            raise UserError(f"{split.file} names {place}, but {found[0]} holds no image.")
        return files
    try:
        lines = found[0].read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{found[0]} is not a readable list of images: {short(error)}.") from None
    files: dict[Path, None] = {}
    for line in filter(None, map(str.strip, lines)):
        near = [found[0].parent / line, split.base / line]
        file = next((path for path in near if is_file(path)), near[0])
        if file in files:
            problems.add(relative(found[0], root), f"lists {short(line)} twice", "image")
        files[file] = None
    return list(files)


def _candidates(split: YoloSplit, place: str) -> list[Path]:
    """Where a place of data.yaml may be: exporters write `../train/images` for a folder beside the yaml file."""
    trimmed = place.removeprefix("../")
    bases = [split.base, split.file.parent]
    return list(dict.fromkeys(base / name for name in (place, trimmed) for base in bases))


def _label_folder(images: Path) -> Path | None:
    """The folder of text files for a folder of images: with `labels` for `images` in its path, or the same folder."""
    parts = images.parts
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "images":
            folder = Path(*parts[:i], "labels", *parts[i + 1 :])
            if folder.is_dir():
                return folder
    return images if next(images.glob("*.txt"), None) is not None else None


def _list_orphans(images: Path, labels: Path, split: YoloSplit, root: Path, problems: Problems) -> None:
    names = {file.stem for file in images.iterdir() if is_image(file)}
    beside = images == labels
    for file in sorted(labels.glob("*.txt")):
        if file.stem not in names and file.name != "classes.txt" and not (beside and file.name in split.places):
            reason = f"points to image {file.stem}, which is not in {relative(images, root)}"
            problems.add(relative(file, root), reason, "label file")
