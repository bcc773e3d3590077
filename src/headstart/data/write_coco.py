"""Writes annotated images as a COCO folder that other tools read, too."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headstart.data.dataset import DetectionDataset
from headstart.errors import UserError


def write_coco(datasets: Sequence[DetectionDataset], out: str | Path) -> Path:
    """Writes the splits as annotations/instances_{split}.json and their pictures in {split}/.

    Boxes and sizes are those of the turned pictures (EXIF); ignored boxes become iscrowd 1; image ids are kept,
    categories are numbered from 1. Pictures are hard links where the file system allows it, else copies. The folder
    appears whole or not at all.
    Raises UserError if something is there already, and for a place inside the data.
    """
    out = Path(out).expanduser()
    _check_place(out, datasets)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        (draft / "annotations").mkdir()
        for dataset in datasets:
            _write_split(draft, dataset)
        draft.chmod(0o755)
        _check_place(out, datasets)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _check_place(out: Path, datasets: Sequence[DetectionDataset]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already and is not overwritten; give another --out.")
    for dataset in datasets:
        if out.resolve().is_relative_to(dataset.path.resolve()):
            raise UserError(f"{out} lies inside the data {dataset.path}, where it would be taken for a part of it.")


def _write_split(draft: Path, dataset: DetectionDataset) -> None:
    folder = draft / dataset.split
    folder.mkdir()
    images, annotations, taken = [], [], set()
    for index, key in enumerate(dataset.ids):
        source = dataset.file(index).resolve()
        name = _free_name(dataset.file(index), taken)
        _place(source, folder / name)
        height, width = dataset.sizes[index].tolist()
        images.append({"id": key, "file_name": name, "width": width, "height": height})
        for box, label, ignored in zip(*(array.tolist() for array in dataset.annotations(index))):
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(ignored),
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(dataset.classes, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file = draft / "annotations" / f"instances_{dataset.split}.json"
    file.write_text(json.dumps(content), encoding="utf-8")


def _free_name(file: Path, taken: set[str]) -> str:
    """The name of a picture, numbered where two folders have the same; case does not tell names apart everywhere."""
    name, number = file.name, 2
    while name.casefold() in taken:
        name, number = f"{file.stem}-{number}{file.suffix}", number + 1
    taken.add(name.casefold())
    return name


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
