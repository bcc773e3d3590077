"""COCO detection json: the standard folders and the export of Roboflow."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeGuard

from headstart.data.problems import Problems
from headstart.data.raw import SPLITS, Layout, RawBox, RawImage, RawIndex, is_file, number, relative, short
from headstart.errors import UserError
from headstart.reading import reading

ROBOFLOW = "_annotations.coco.json"


def find_coco(root: Path) -> Layout | None:
    """The splits of annotations/instances_{split}*.json; where there is none, of any json there or in the folder."""
    for files in (
        list(root.glob("annotations/instances*.json")),
        list(root.glob("annotations/*.json")),
        list(root.glob("*.json")),
    ):
        splits = {split: found for split in SPLITS if (found := [f for f in sorted(files) if _names_split(f, split)])}
        if splits:
            remedy = "COCO splits are files annotations/instances_train.json, instances_val.json, instances_test.json"
            return Layout("COCO", {split: partial(_read_only_one, root, splits[split]) for split in splits}, remedy)
    return None


def find_roboflow(root: Path) -> Layout | None:
    """The splits of {train,valid,test}/_annotations.coco.json, images beside them."""
    splits = {}
    for split, names in SPLITS.items():
        found = [root / name / ROBOFLOW for name in names if (root / name / ROBOFLOW).is_file()]
        if found:
            splits[split] = found
    remedy = f"Roboflow's COCO export has one folder per split: train/{ROBOFLOW}, valid/{ROBOFLOW}"
    readers = {split: partial(_read_only_one, root, files) for split, files in splits.items()}
    return Layout("COCO (Roboflow)", readers, remedy) if splits else None


def read_coco(root: Path, file: Path, problems: Problems) -> RawIndex:
    """One json. Boxes are x, y, width, height; iscrowd=1 becomes ignored; sparse category ids become 0..K-1 by id.

    Categories, images and annotations that contradict each other go to `problems`. Raises UserError for a file that
    is no COCO json at all, and when no image folder fits.
    """
    shown = relative(file, root)
    content = _load(file)
    numbers, names = _categories(content, shown, problems)
    images = _images(content.images, shown, problems)
    for position, annotation in enumerate(content.annotations):
        _add_annotation(annotation, position, images, numbers, shown, problems)
    folder = _image_folder(root, file, [image.file for image in images.values()])
    for image in images.values():
        image.file = relative(folder / image.file, root)
    return RawIndex(names, list(images.values()))


def _names_split(file: Path, split: str) -> bool:
    return not set(re.split(r"[^a-z]+", file.stem.lower())).isdisjoint(SPLITS[split])


def _read_only_one(root: Path, files: list[Path], problems: Problems) -> RawIndex:
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(root)) for file in files)
        raise UserError(f"{root} has several annotation files for one split: {names}; keep one of them there.")
    return read_coco(root, files[0], problems)


class CocoJson(NamedTuple):
    """The lists of a file, whose entries may still be anything."""

    images: list[object]
    annotations: list[object]
    categories: list[object]


def _load(file: Path) -> CocoJson:
    with reading(file, "The annotation file", "Repair it, or export it again as COCO json"):
        content = json.loads(file.read_bytes())
    if not isinstance(content, dict):
        raise UserError(f"{file} should be a COCO json with images, annotations and categories, found a list.")
    lists = {"images": content.get("images"), "annotations": content.get("annotations", [])}
    lists["categories"] = content.get("categories")
    found = [entries for entries in lists.values() if isinstance(entries, list)]
    for key, entries in lists.items():
        if not isinstance(entries, list):
            raise UserError(f"{file} should be a COCO json, but has no list {key!r}; found {short(list(content))}.")
    return CocoJson(*found)


def _categories(content: CocoJson, shown: str, problems: Problems) -> tuple[dict[int, int], list[str]]:
    """Category id -> class number, and the names. Two ids of one name are listed; skipping lets them share a class."""
    found: dict[int, tuple[str, object]] = {}
    for entry in content.categories:
        category = entry if isinstance(entry, dict) else {}
        key, name = category.get("id"), category.get("name")
        if not _whole(key) or not isinstance(name, str) or not name.strip():
            problems.add(shown, f"category {short(entry)} needs an integer id and a name", "class")
        elif key in found:
            problems.add(shown, f"category id {key} is given twice ({found[key][0]!r} and {name!r})", "class")
        else:
            found[key] = (name, category.get("supercategory"))
    _drop_roboflow_heading(found, content.annotations)
    names: list[str] = []
    numbers: dict[int, int] = {}
    for key in sorted(found):
        name = found[key][0]
        if name in names:
            problems.add(shown, f"category id {key} has the name {name!r} of another category", "class")
        else:
            names.append(name)
        numbers[key] = names.index(name)
    return numbers, names


def _drop_roboflow_heading(found: dict[int, tuple[str, object]], annotations: list[object]) -> None:
    """Roboflow writes the project's name as category 0 above all others; it is no class unless something uses it."""
    others = [group for key, (_, group) in found.items() if key != 0]
    if 0 in found and others and all(group == found[0][0] for group in others):
        used = any(isinstance(a, dict) and a.get("category_id") == 0 for a in annotations)
        if not used:
            del found[0]


def _images(listed: list[object], shown: str, problems: Problems) -> dict[int, RawImage]:
    images: dict[int, RawImage] = {}
    seen: dict[str, int] = {}
    for position, image in enumerate(listed):
        image = image if isinstance(image, dict) else {}
        key, name = image.get("id"), image.get("file_name")
        if not _whole(key) or not isinstance(name, str) or not name or "\0" in name:
            problems.add(shown, f"image number {position} needs an integer id and a file_name", "image")
        elif key in images:
            problems.add(name, f"its image id {key} is already that of {images[key].file}", "image")
        elif name in seen:
            problems.add(name, f"is listed twice, with image ids {seen[name]} and {key}", "image")
        else:
            height, width = image.get("height"), image.get("width")
            known = _whole(height) and _whole(width) and height > 0 and width > 0
            images[key] = RawImage(name, key, (height, width) if known else None)
            seen[name] = key
    return images


def _add_annotation(
    annotation: object,
    position: int,
    images: dict[int, RawImage],
    numbers: dict[int, int],
    shown: str,
    problems: Problems,
) -> None:
    if not isinstance(annotation, dict):
        return problems.add(shown, f"annotation number {position} is not an object but {short(annotation)}")
    key, category = annotation.get("image_id"), annotation.get("category_id")
    image = images.get(key) if _whole(key) else None
    corners = annotation.get("bbox")
    what = f"annotation {short(annotation.get('id', position))}"
    if image is None:
        return problems.add(shown, f"{what} points to image {short(key)}, which is not listed")
    if not _whole(category) or category not in numbers:
        return problems.add(image.file, f"{what} points to category {short(category)}, which is not listed")
    try:
        x, y, width, height = (number(value) for value in (corners if isinstance(corners, list) else ()))
    except (ValueError, OverflowError):
        return problems.add(image.file, f"{what} needs a bbox of four numbers, found {short(corners)}")
    box: RawBox = (x, y, x + width, y + height, numbers[category], annotation.get("iscrowd") in (1, True))
    image.boxes.append(box)
    return None


def _image_folder(root: Path, file: Path, names: list[str]) -> Path:
    """The folder that holds most of a few of the listed files."""
    sample = names[:: max(1, len(names) // 50)]
    if not sample:
        return root
    stem = re.sub(r"^instances_?", "", file.stem)
    splits = [name for aliases in SPLITS.values() for name in aliases if name in re.split(r"[^a-z]+", stem.lower())]
    near = [stem, *splits, *(alias for name in splits for group in SPLITS.values() if name in group for alias in group)]
    folders = [file.parent, root, *(root / name for name in near), *(root / "images" / name for name in near)]
    folders += [root / name / "images" for name in near] + [root / "images", root / "JPEGImages", root / "data"]
    folders = list(dict.fromkeys(folders))
    hits = [sum(is_file(folder / name) for name in sample) for folder in folders]
    if max(hits) == 0:
        tried = ", ".join(str(folder.relative_to(root)) or "." for folder in folders if folder.is_dir())
        raise UserError(f"{file} lists images such as {sample[0]}, found in none of these folders of {root}: {tried}.")
    return folders[hits.index(max(hits))]


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
