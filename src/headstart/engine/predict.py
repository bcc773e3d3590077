"""Detectors outside training: scores of a weights file, and boxes on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from headstart.classmap import LEFT_OUT, ClassMap, match_classes, shorten, spelling
from headstart.config import Data
from headstart.data.batch import MULTIPLE, collate
from headstart.data.dataset import DetectionDataset, Sample
from headstart.data.discover import Folder, open_dataset, open_folder
from headstart.data.images import read_image
from headstart.data.split import read_split
from headstart.data.summary import summarise_split
from headstart.data.transforms import Transform
from headstart.detectors.detector import Detector
from headstart.detectors.weights.importing import NATIVE, Imported, open_detector
from headstart.engine.build import validation_batches
from headstart.engine.display import Print
from headstart.engine.pictures import checked, find_images, picture_names
from headstart.engine.precision import choose_precision
from headstart.engine.strategy import choose_device
from headstart.errors import UserError
from headstart.evaluation.coco import CocoScorer
from headstart.evaluation.evaluate import Progress, evaluate
from headstart.evaluation.metrics import Metrics
from headstart.evaluation.original import to_original
from headstart.evaluation.voc import VocScorer
from headstart.recipe import check_section, read_class_map
from headstart.report.drawing import Drawn, draw_boxes
from headstart.report.gallery import save_picture
from headstart.report.results import as_unicode, write_json
from headstart.structures import Detections

SIDES = ("detector", "data")
"""Who takes the teacher's and the student's part when the classes of a detector are matched to those of the data."""


FoundObject = TypedDict("FoundObject", {"class": str, "score": float, "box": list[float]})
"""Name of the class, score in 0..1, box x1, y1, x2, y2 in pixels of the image."""


class Prediction(TypedDict):
    """What was found in one image: `objects` best first, width and height in pixels.

    file   its path; a byte that is not UTF-8 is written `\\xNN`
    error  why it could not be read; absent if it could. Width, height and objects are 0 and empty then
    """

    file: str
    width: int
    height: int
    objects: list[FoundObject]
    error: NotRequired[str]


LARGEST_INPUT = 4096
"""Largest `imgsz`: activations of an image grow with its square, and take some GB at this size."""

LARGEST_BATCH = 512
"""Most images that `validate` reads at a time."""


@dataclass(frozen=True)
class InputSize:
    """How images are resized for a detector: shorter side `short`, longer at most `long`, in pixels, and the filter.

    square  whether each is padded to a square of `long`
    """

    short: int
    long: int
    resize: str
    square: bool


def validate(
    weights: str | Path,
    data: str | Path,
    *,
    split: str | float = "val",
    split_seed: int = 0,
    imgsz: int | None = None,
    batch: int = 8,
    workers: int = 0,
    bad_data: str = "stop",
    voc: bool = False,
    class_map: Mapping[str, str | None] | str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    say: Print | None = None,
) -> Metrics:
    """COCO numbers (and VOC's, if asked for) of a weights file on a split of a folder, `per_class` included.

    `split` is the name of a split; or the share (with `split_seed`) that a run made its validation split by.
    The images have the size that the detector was trained at, unless `imgsz` says otherwise. Classes are matched by
    name, as a teacher's are, and those that both sides know count; `class_map` (a mapping or a file) is for names that
    do not say it: the detector's class -> the data's, None to leave it out. `say` is told which these are where the two
    differ, and what was assumed of a file that is not headstart's.
    Raises UserError if they have no class in common, and for an `imgsz` or a batch that is too large.
    """
    _demand_sizes(imgsz, batch)
    opened = open_detector(weights)
    detector = opened.detector
    tell(opened, say)
    place = choose_device(device)
    given = read_class_map(str(class_map)) if isinstance(class_map, str | Path) else class_map
    name, share = read_split(split)
    folder = open_folder(data, share=share, split_seed=split_seed)
    dataset, classes = open_for(detector.classes, given, folder, name, bad_data)
    size = _input_size(opened, imgsz)
    if say is not None:
        made = [folder.whole.divided.made.sentence()] if folder.whole is not None else []
        for line in (*made, *summarise_split(dataset, (size.short, size.long)), *compare_names(classes)):
            say(line)
    sides = {"imgsz": size.long, "square": True} if size.square else {"short": size.short, "long": size.long}
    settings = check_section(Data, {"path": str(data), "batch": batch, "workers": workers, **sides})
    scorers = [CocoScorer(dataset), *([VocScorer(dataset)] if voc else [])]
    dtype = choose_precision("auto", False, place).dtype
    loader = validation_batches(settings, dataset, resize=size.resize)
    return evaluate(
        detector,
        loader,
        scorers,
        device=place,
        autocast=dtype,
        progress=progress,
        translate=None if classes.identical else classes.detections,
    )


def open_for(
    known: Sequence[str],
    given: Mapping[str, str | None] | None,
    data: str | Path | Folder,
    split: str,
    bad_data: str = "stop",
) -> tuple[DetectionDataset, ClassMap]:
    """A split with those of its classes that a detector of other classes (`known`) finds, and which are which.

    `given` and what is raised: as for `match_classes`.
    """

    def choose(found: Sequence[str], elsewhere: Callable[[], Sequence[str]]) -> list[str]:
        names = list(found)
        if given or not {spelling(name) for name in known} <= {spelling(name) for name in names}:
            names = list(dict.fromkeys([*names, *elsewhere()]))
        goal = match_classes(known, names, given, who=SIDES).goal
        return list(dict.fromkeys(names[number] for number in goal if number != LEFT_OUT))

    dataset = open_dataset(data, split, classes=choose, bad_data=bad_data)
    return dataset, match_classes(known, dataset.classes, given, who=SIDES)


def compare_names(classes: ClassMap) -> list[str]:
    """Lines that say which classes are measured and which are left out, none if both sides have the same names."""
    pairs = [(name, number) for name, number in zip(classes.teacher, classes.goal) if number != LEFT_OUT]
    other = [f"{name} as {classes.student[number]}" for name, number in pairs if name != classes.student[number]]
    lines = [f"Classes of another name in the data: {shorten(other)}"] if other else []
    if classes.unmatched_teacher:
        lines.append(
            f"Measured on {len(classes.student)} classes; not in the data and left out: "
            f"{shorten(classes.unmatched_teacher)}"
        )
    return lines


def predict(
    weights: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    threshold: float = 0.3,
    imgsz: int | None = None,
    device: str = "auto",
    draw: bool = True,
    say: Print | None = None,
) -> list[Prediction]:
    """Finds objects in images or folders of images; writes the drawn images and predictions.json into `out`.

    Gives one entry per image: file, width, height, and `objects` (class, score, box xyxy in pixels of the image), best
    first, of at least `threshold`. An image that cannot be read has an `error` instead, and the others are done all the
    same. `say` is told of these, and what was assumed of a weights file that is not headstart's. Raises UserError for a
    source without images, and for an `imgsz` that is too large.
    """
    _demand_sizes(imgsz)
    if not 0 <= threshold <= 1:
        raise UserError(f"the threshold is a score between 0 and 1, found {threshold}.")
    files = list(dict.fromkeys(file for source in sources for file in find_images(Path(source))))
    place = choose_device(device)
    opened = open_detector(weights)
    detector = opened.detector.to(place)
    tell(opened, say)
    size = _input_size(opened, imgsz)
    out = Path(out)
    names = picture_names(files)
    entries = []
    for file, error, remark in checked(files):
        image = None if error else read_image(file)
        if say is not None and (error or remark):
            say(f"{file}: {error or remark}")
        if image is None:
            entries.append(_entry_without(file, error))
            continue
        found = find_objects(detector, image, short=size.short, long=size.long, resize=size.resize, square=size.square)
        entries.append(_entry(file, image, found, detector.classes, threshold))
        if draw:
            out.mkdir(parents=True, exist_ok=True)
            pixels = image.permute(1, 2, 0).numpy()
            save_picture(out / names[file], draw_boxes(pixels, Drawn.of(found, threshold=threshold), detector.classes))
    write_json(out / "predictions.json", entries)
    return entries


def _demand_sizes(imgsz: int | None, batch: int = 1) -> None:
    if imgsz is not None and not 1 <= imgsz <= LARGEST_INPUT:
        raise UserError(
            f"imgsz, the side of the square that images are fitted into, must be 1 to {LARGEST_INPUT} pixels, found "
            f"{imgsz}; cut larger images into tiles."
        )
    if not 1 <= batch <= LARGEST_BATCH:
        raise UserError(f"a batch must be 1 to {LARGEST_BATCH} images here, found {batch}.")


def find_objects(
    detector: Detector, image: Tensor, *, short: int, long: int, resize: str = "antialias", square: bool = False
) -> Detections:
    """What a detector in evaluation mode finds in one image (3, H, W) uint8, in pixels of it, on the CPU.

    short, long, resize, square  as in `InputSize`
    """
    height, width = image.shape[1:]
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    sample = Transform(short=short, long=long, flip=0.0, resize=resize)(
        Sample(image, *nothing, id=0, original=(height, width))
    )
    batch, _ = collate([sample], long if square else None)
    return to_original(detector.detect(batch.to(detector.mean.device))[0], batch, 0).to("cpu")


def _entry(file: Path, image: Tensor, found: Detections, classes: Sequence[str], threshold: float) -> Prediction:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    objects: list[FoundObject] = [
        {"class": classes[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for box, score, label in rows
        if score >= threshold
    ]
    return {"file": as_unicode(str(file)), "width": image.shape[2], "height": image.shape[1], "objects": objects}


def _entry_without(file: Path, error: str) -> Prediction:
    return {"file": as_unicode(str(file)), "width": 0, "height": 0, "objects": [], "error": error}


def tell(opened: Imported, say: Print | None) -> None:
    """Says what a foreign file was taken for."""
    if say is not None and opened.source != NATIVE:
        say(f"Read as {opened.source}")
        for note in opened.notes:
            say(f"- {note}")


def _input_size(opened: Imported, imgsz: int | None) -> InputSize:
    """As the detector was trained, unless `imgsz` gives another square. Raises UserError for one that cannot be."""
    if imgsz is not None:
        check_section(Data, {"path": ".", "imgsz": imgsz})
    known = {"short": 640, "long": 640, "resize": "antialias", "square": False, **opened.size}
    if known["square"] and imgsz is not None and imgsz % MULTIPLE:
        raise UserError(
            f"this detector reads images padded to squares, whose side must be a multiple of {MULTIPLE}; found "
            f"imgsz {imgsz}."
        )
    return InputSize(imgsz or known["short"], imgsz or known["long"], known["resize"], known["square"])
