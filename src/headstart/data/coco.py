"""COCO detection json, wherever it lies: the standard folders, and the exports of CVAT, Roboflow and others."""

from __future__ import annotations

import posixpath
from functools import partial
from pathlib import Path

from headstart.data.coco_json import Annotation, Ids, load_coco, looks_like_coco, read_categories
from headstart.data.locate import Pictures
from headstart.data.problems import Problems
from headstart.data.raw import ALL, Layout, RawImage, RawIndex, find_split, flag, number, plural, short, whole
from headstart.data.tree import Tree, first_of, worth_a_look
from headstart.errors import UserError

ROBOFLOW = "_annotations.coco.json"

REMEDIES = {
    "COCO": "COCO splits are files annotations/instances_train.json, instances_val.json, instances_test.json",
    "COCO (Roboflow)": f"Roboflow's COCO export has one folder per split: train/{ROBOFLOW}, valid/{ROBOFLOW}",
}


def find_coco(tree: Tree) -> Layout | None:
    """The splits of the COCO json files: by the words in their names, else in those of their folders."""
    files = [file for file in worth_a_look(tree.with_suffix(".json")) if _is_meant(tree.root, file)]
    if not files:
        return None
    divided: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for file in files:
        split, word = find_split(file) or (ALL, ALL)
        divided.setdefault(split, []).append(file)
        names.setdefault(split, word)
    whole_files = divided.pop(ALL, []) if "train" in divided else []
    found = {split: _most_likely(divided[split]) for split in ("train", "val", "test", ALL) if split in divided}
    notes = [f"{first_of(whole_files)} belongs to no split and is passed over."] if whole_files else []
    kind = "COCO (Roboflow)" if all(posixpath.basename(file) == ROBOFLOW for file in files) else "COCO"
    readers = {split: partial(_read_only_one, tree, split, found[split]) for split in found}
    source = first_of([file for one in found.values() for file in one])
    return Layout(kind, readers, REMEDIES[kind], source, {split: names[split] for split in found}, tuple(notes))


def read_coco(tree: Tree, split: str, file: str, problems: Problems) -> RawIndex:
    """One json. Boxes are x, y, width, height; iscrowd=1 becomes ignored; sparse category ids become 0..K-1 by id.

    Ids may be whole numbers in any form (7, 7.0, "7"); where all image ids are other text, images are numbered in
    their order. Categories, images and annotations that contradict each other go to `problems`. Raises UserError for
    a file that is no COCO json at all, and when none of its images is found.
    """
    content = load_coco(tree.root / file)
    ids = Ids(content)
    numbers, names = read_categories(tree.root / file, content, file, ids, problems)
    images = _images(content.images, file, ids, problems)
    boxes = content.annotations
    boxes.reverse()
    position = 0
    while boxes:
        # Taken off the list, so that memory holds each box in one form only.
        _add_annotation(boxes.pop(), position, images, numbers, file, ids, problems)
        position += 1
    _find_files(tree, split, file, images, problems)
    problems.notes += [f"{file}: {note}" for note in ids.notes()]
    return RawIndex(names, list(images.values()))


def _is_meant(root: Path, file: str) -> bool:
    name = posixpath.basename(file)
    return name.startswith("instances") or name == ROBOFLOW or looks_like_coco(root / file)


def _most_likely(files: list[str]) -> list[str]:
    """Of several files of a split those named instances..., then those that are not for other tasks."""
    first = [file for file in files if posixpath.basename(file).startswith("instances")]
    others = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
    second = [file for file in files if not posixpath.basename(file).startswith(others)]
    return first or second or files


def _read_only_one(tree: Tree, split: str, files: list[str], problems: Problems) -> RawIndex:
    if len(files) > 1:
        what = "one split" if split != ALL else "data that is not divided"
        names = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        raise UserError(f"{tree.root} has several annotation files for {what}: {names}; keep one of them there.")
    return read_coco(tree, split, files[0], problems)


def _images(listed: list[object], shown: str, ids: Ids, problems: Problems) -> dict[int | str, RawImage]:
    images: dict[int | str, RawImage] = {}
    seen: dict[str, int | str] = {}
    for position, image in enumerate(listed):
        image = image if isinstance(image, dict) else {}
        key, name = ids.image(image.get("id")), image.get("file_name")
        if key is None or not isinstance(name, str) or not name or "\0" in name:
            problems.add(shown, f"image number {position} needs an integer id and a file_name", "image")
        elif key in images:
            problems.add(name, f"its image id {key} is already that of {images[key].file}", "image")
        elif name in seen:
            problems.add(name, f"is listed twice, with image ids {seen[name]} and {key}", "image")
        else:
            height, width = whole(image.get("height")), whole(image.get("width"))
            known = height is not None and width is not None and height > 0 and width > 0
            images[key] = RawImage(name, key if isinstance(key, int) else position, (height, width) if known else None)
            seen[name] = key
    return images


def _add_annotation(
    entry: object,
    position: int,
    images: dict[int | str, RawImage],
    numbers: dict[int, int],
    shown: str,
    ids: Ids,
    problems: Problems,
) -> None:
    if not isinstance(entry, Annotation):
        if not isinstance(entry, dict):
            return problems.add(shown, f"annotation number {position} is not an object but {short(entry)}")
        entry = Annotation.of(entry)
    key, category = ids.image(entry.image_id), ids.category(entry.category_id)
    image = images.get(key) if key is not None else None
    what = f"annotation {short(position if entry.id is None else entry.id)}"
    if image is None:
        return problems.add(shown, f"{what} points to image {short(entry.image_id)}, which is not listed")
    if category is None or category not in numbers:
        return problems.add(image.file, f"{what} points to category {short(entry.category_id)}, which is not listed")
    try:
        x, y, width, height = (number(value) for value in (entry.bbox if isinstance(entry.bbox, list) else ()))
    except (ValueError, OverflowError):
        return problems.add(image.file, f"{what} needs a bbox of four numbers, found {short(entry.bbox)}")
    try:
        crowd = flag(entry.iscrowd)
    except ValueError as error:
        return problems.add(image.file, f"{what}: iscrowd {error}")
    image.boxes.append((x, y, x + width, y + height, numbers[category], crowd))
    return None


def _find_files(tree: Tree, split: str, file: str, images: dict[int | str, RawImage], problems: Problems) -> None:
    """Replaces the listed names by paths. Raises UserError if none of them is found."""
    pictures = Pictures(tree)
    names = [image.file for image in images.values()]
    folder = posixpath.dirname(file)
    base = pictures.base(names, split, folder)
    near = list(dict.fromkeys([*([] if base is None else [base]), folder, ""]))
    found: dict[str, int | str] = {}
    missing = 0
    for key, image in list(images.items()):
        path = pictures.find(image.file, near, split)
        if path is None:
            missing += 1
            path = posixpath.normpath(posixpath.join(near[0], image.file))
        if pictures.is_irregular(path):
            problems.add(path, "is not a regular file (a pipe or a device)", "image")
            del images[key]
        elif path in found:
            problems.add(image.file, f"is the file {path} of image id {found[path]} once more", "image")
            del images[key]
        else:
            image.file = path
            found[path] = key
    if names and missing == len(names):
        where = (
            f"{plural(len(tree.pictures), 'image')} there, such as {tree.pictures[0]}" if tree.pictures else "no image"
        )
        raise UserError(
            f"{tree.root / file} lists images such as {short(names[0], 200)}, found nowhere below {tree.root} "
            f"({where}); put the images that it lists into that folder."
        )
    problems.notes += pictures.note(file)
    _note_others(tree, split, base, set(found), file, problems)


def _note_others(tree: Tree, split: str, base: str | None, used: set[str], file: str, problems: Problems) -> None:
    """Says which pictures of the folder are not listed, where the folder is for this split alone."""
    said = find_split(f"{base or ''}/_")
    if said and split != ALL and said[0] != split:
        problems.notes.append(f"{file}: the images of the {split} split are read from {base}.")
    if base is None or (split != ALL and not (said and said[0] == split)):
        return
    others = [path for path in tree.pictures if (not base or path.startswith(f"{base}/")) and path not in used]
    if others:
        problems.notes.append(f"{file} does not list {plural(len(others), 'image')} of its folder: {first_of(others)}.")
