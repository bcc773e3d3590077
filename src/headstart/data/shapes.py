"""The built-in demo set `shapes`: drawn scenes of ten confusable figures, written as an ordinary COCO folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from headstart.data.shapes_figures import FIGURES
from headstart.data.shapes_scene import CROWDED, OPEN, Scene, draw_scene
from headstart.errors import UserError

DRAWING = 4
"""Number of the drawing code: raised when its pictures change, so that an old folder is drawn anew."""

OURS = {"annotations", "train", "val", "shapes.json"}


def make_shapes(
    folder: str | Path, *, train: int = 1000, val: int = 200, size: int = 128, seed: int = 0, crowded: bool = True
) -> Path:
    """Draws the demo set into `folder`: annotations/instances_{train,val}.json and JPEGs in train/ and val/.

    Pictures are size x size px. `crowded` ones hold up to eight figures, small ones too, and forms of no class; the
    others up to four, larger ones, always in their class's colour. Picture i of a split depends on (seed, split, i,
    size, crowded) alone: the same arguments give the same bytes, and a larger set begins with the smaller one. A folder
    that holds the identical set is left as it is; one that holds another demo set is drawn anew. The folder appears
    whole or not at all.
    Raises UserError for numbers that make no set, and for a folder that holds anything else.
    """
    folder = Path(folder)
    settings = {"drawing": DRAWING, "train": train, "val": val, "size": size, "seed": seed, "crowded": crowded}
    _check(settings)
    if _holds(folder, settings):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (draft / "annotations").mkdir()
        for number, (split, count) in enumerate([("train", train), ("val", val)]):
            _write_split(draft, split, count, size, (seed, number), CROWDED if crowded else OPEN)
        (draft / "shapes.json").write_text(json.dumps(settings))
        draft.chmod(0o755)
        _swap(draft, folder, settings)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write_split(root: Path, split: str, count: int, size: int, seed: tuple[int, int], scene: Scene) -> None:
    (root / split).mkdir()
    images, annotations = [], []
    for i in range(count):
        picture, boxes, labels = draw_scene(np.random.default_rng([*seed, i]), size, scene)
        name = f"{i:06d}.jpg"
        picture.save(root / split / name, quality=92, subsampling=0)
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist()):
            annotation = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": label + 1, "iscrowd": 0}
            annotations.append(annotation | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(FIGURES)]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "annotations" / f"instances_{split}.json").write_text(text)


def _check(settings: dict[str, int]) -> None:
    for name, least in {"train": 1, "val": 1, "size": 32, "seed": 0}.items():
        if settings[name] < least:
            raise UserError(f"shapes: {name} must be at least {least}, found {settings[name]}.")


def _holds(folder: Path, settings: dict[str, int]) -> bool:
    """Whether the folder holds this set. Raises UserError if it holds files that are not of a demo set."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UserError(f"the demo set needs a folder, but {folder} is a file; give another path.")
    found = {entry.name for entry in folder.iterdir()}
    if not found:
        return False
    if "shapes.json" not in found or not found <= OURS:
        strange = sorted(found - OURS)[:3] or sorted(found)[:3]
        raise UserError(f"{folder} holds other files ({', '.join(strange)}); give a new folder for the demo set.")
    try:
        return json.loads((folder / "shapes.json").read_text()) == settings
    except ValueError:
        return False


def _swap(draft: Path, folder: Path, settings: dict[str, int]) -> None:
    """Puts the finished draft in the folder's place; another process may have put the same set there meanwhile."""
    if _holds(folder, settings):
        return
    if folder.exists():
        folder.rename(draft / "replaced")
        finished = draft.with_name(draft.name + "-new")
        finished.mkdir()
        for name in OURS:
            (draft / name).rename(finished / name)
        finished.chmod(0o755)
        finished.rename(folder)
    else:
        draft.rename(folder)
