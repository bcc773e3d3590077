"""Tiny data sets of every format, written by the tests themselves."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def picture(file: Path, width: int = 40, height: int = 30, mode: str = "RGB", **options) -> Path:
    """A picture whose pixels are a smooth ramp, so that lossy formats keep them nearly."""
    file.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], 2).astype(np.uint8)
    Image.fromarray(ramp).convert(mode).save(file, **options)
    return file


def annotation(image: int, category: int, bbox, **extra) -> dict:
    return {"image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0, **extra}


def coco(root: Path, annotations: list, *, images: int = 2, categories=None, split: str = "train", **replaced) -> Path:
    """annotations/instances_{split}.json with images 1..n of 40 x 30 px; the categories are 3 cat and 7 dog."""
    listed = []
    for i in range(1, images + 1):
        picture(root / split / f"{i}.jpg")
        listed.append({"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30})
    content = {
        "images": listed,
        "annotations": [{"id": n, **a} if isinstance(a, dict) else a for n, a in enumerate(annotations, 1)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}] if categories is None else categories,
    }
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content | replaced))
    return root


def voc_xml(objects: list, size: tuple | None = (40, 30)) -> str:
    """objects: (name, xmin, ymin, xmax, ymax) or with a sixth entry, difficult."""
    parts = []
    for name, x1, y1, x2, y2, *difficult in objects:
        corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        flag = f"<difficult>{difficult[0]}</difficult>" if difficult else ""
        parts.append(f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>")
    shown = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation>{shown}{''.join(parts)}</annotation>"


def voc(root: Path, splits: dict[str, dict[str, str]]) -> Path:
    """splits: {"train": {name: xml text}}; each image is 40 x 30 px."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, images in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in images))
        for name, text in images.items():
            picture(root / "JPEGImages" / f"{name}.jpg")
            (root / "Annotations" / f"{name}.xml").write_text(text)
    return root


def yolo(root: Path, splits: dict[str, dict[str, str | None]], *, nesting: str = "images/{}", **content) -> Path:
    """splits: {"train": {name: label text, None for no file}}; images in nesting.format(split), 40 x 30 px."""
    settings: dict = {"names": ["cat", "dog"]}
    for split, images in splits.items():
        folder = root / nesting.format(split)
        settings[split] = nesting.format(split)
        for name, text in images.items():
            picture(folder / f"{name}.jpg")
            labels = root / nesting.format(split).replace("images", "labels") / f"{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                labels.write_text(text)
    (root / "data.yaml").write_text(json.dumps(settings | content))
    return root
