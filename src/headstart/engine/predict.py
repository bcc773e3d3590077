"""Detectors outside training: scores of a weights file, and boxes on images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.config import Data
from headstart.data.batch import collate
from headstart.data.dataset import Sample
from headstart.data.discover import open_dataset
from headstart.data.images import is_image, read_image
from headstart.data.transforms import Transform
from headstart.detectors.detector import Detector
from headstart.detectors.weights.foreign import OWN, Imported, open_detector
from headstart.engine.build import validation_batches
from headstart.engine.precision import choose_precision
from headstart.engine.strategy import choose_device
from headstart.errors import UserError
from headstart.evaluation.coco import CocoScorer
from headstart.evaluation.evaluate import evaluate
from headstart.evaluation.original import to_original
from headstart.evaluation.voc import VocScorer
from headstart.report.drawing import Drawn, draw_boxes
from headstart.report.gallery import save_picture
from headstart.report.results import write_json
from headstart.structures import Detections


def validate(
    weights: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    imgsz: int | None = None,
    batch: int = 8,
    workers: int = 0,
    bad_data: str = "stop",
    voc: bool = False,
    device: str = "auto",
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """COCO numbers (and VOC's, if asked for) of a weights file on a split of a folder, `per_class` included.

    The images have the size that the detector was trained at, unless `imgsz` says otherwise. `say` is told what was
    assumed of a file that is not headstart's.
    Raises UserError if the data lacks one of the detector's classes.
    """
    opened = open_detector(weights)
    detector = opened.detector
    tell(opened, say)
    place = choose_device(device)
    dataset = open_dataset(data, split, classes=list(detector.classes), bad_data=bad_data)
    sides = _sides(opened.size, imgsz)
    settings = Data(path=str(data), batch=batch, workers=workers, short=sides["short"], long=sides["long"])
    scorers = [CocoScorer(dataset), *([VocScorer(dataset)] if voc else [])]
    dtype = choose_precision("auto", False, place).dtype
    loader = validation_batches(settings, dataset, resize=sides["resize"])
    return evaluate(detector, loader, scorers, device=place, autocast=dtype, progress=progress)


def predict(
    weights: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    threshold: float = 0.3,
    imgsz: int | None = None,
    device: str = "auto",
    draw: bool = True,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Finds objects in images or folders of images; writes the drawn images and predictions.json into `out`.

    Gives one entry per image: file, width, height, and `objects` (class, score, box xyxy in pixels of the image), best
    first, of at least `threshold`. `say` is told what was assumed of a file that is not headstart's. Raises UserError
    for a source without images.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"the threshold is a score between 0 and 1, found {threshold}.")
    files = list(dict.fromkeys(file for source in sources for file in find_images(Path(source))))
    place = choose_device(device)
    opened = open_detector(weights)
    detector = opened.detector.to(place)
    tell(opened, say)
    sides = _sides(opened.size, imgsz)
    out = Path(out)
    names = _picture_names(files)
    entries = []
    for file in files:
        image = read_image(file)
        found = find_objects(detector, image, **sides)
        entries.append(_entry(file, image, found, detector.classes, threshold))
        if draw:
            out.mkdir(parents=True, exist_ok=True)
            pixels = image.permute(1, 2, 0).numpy()
            save_picture(out / names[file], draw_boxes(pixels, Drawn.of(found, threshold=threshold), detector.classes))
    write_json(out / "predictions.json", entries)
    return entries


def find_images(source: Path) -> Iterator[Path]:
    """The image itself, or every image below a folder. Raises UserError if there is none."""
    if source.is_file():
        if not is_image(source):
            raise UserError(f"{source} is not an image file that can be read (.jpg, .png, ...).")
        yield source
        return
    if not source.exists():
        raise UserError(f"{source} does not exist: expected an image or a folder of images.")
    found = sorted(path for path in source.rglob("*") if is_image(path))
    if not found:
        raise UserError(f"{source} has no image in it (.jpg, .png, ...).")
    yield from found


def find_objects(detector: Detector, image: Tensor, *, short: int, long: int, resize: str = "antialias") -> Detections:
    """What a detector in evaluation mode finds in one image (3, H, W) uint8, in pixels of it, on the CPU."""
    height, width = image.shape[1:]
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    sample = Transform(short=short, long=long, flip=0.0, resize=resize)(
        Sample(image, *nothing, id=0, original=(height, width))
    )
    batch, _ = collate([sample])
    return to_original(detector.detect(batch.to(detector.mean.device))[0], batch, 0).to("cpu")


def _entry(file: Path, image: Tensor, found: Detections, classes: Sequence[str], threshold: float) -> dict[str, Any]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    objects = [
        {"class": classes[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for box, score, label in rows
        if score >= threshold
    ]
    return {"file": str(file), "width": image.shape[2], "height": image.shape[1], "objects": objects}


def tell(opened: Imported, say: Callable[[str], None] | None) -> None:
    """Says what a foreign file was taken for."""
    if say is not None and opened.source != OWN:
        say(f"Read as {opened.source}")
        for note in opened.notes:
            say(f"- {note}")


def _sides(size: dict[str, Any], imgsz: int | None) -> dict[str, Any]:
    known = {"short": 640, "long": 640, "resize": "antialias", **size}
    return known if imgsz is None else {**known, "short": imgsz, "long": imgsz}


def _picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each drawn image, numbered where two files have the same."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 2
        while name in taken:
            name, number = f"{file.stem}-{number}.jpg", number + 1
        taken.add(name)
        names[file] = name
    return names
