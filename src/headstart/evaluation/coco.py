"""The twelve COCO numbers and AP per class, by faster-coco-eval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, cast

import numpy as np
from faster_coco_eval.core.coco import COCO
from faster_coco_eval.core.faster_eval_api import COCOeval_faster

from headstart.evaluation.collect import Collector, GroundTruth
from headstart.evaluation.gather import DetectionTable
from headstart.evaluation.metrics import Metrics

METRICS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L")
"""In the order of the official summary."""

_SIZES = ("all", "S", "M", "L")
_ALL, _AT_MOST_100 = 0, 2


class CocoImage(TypedDict):
    """height and width in pixels of the stored image."""

    id: int
    height: int
    width: int


class CocoAnnotation(TypedDict):
    """bbox: x, y, width, height in pixels of the stored image; area in square pixels; iscrowd: 1 for ignored boxes."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int


class CocoCategory(TypedDict):
    """Ids are label + 1."""

    id: int
    name: str


class CocoTruth(TypedDict):
    """What the evaluation needs of a COCO annotation file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


@dataclass(frozen=True)
class Curves:
    """What COCO's accumulation yields; -1 marks what is undefined because there is nothing to find.

    precision, scores (10 IoU thresholds 0.5..0.95, 101 recalls, K classes, 4 object sizes, 3 limits of detections)
    recall            (10, K, 4, 3)
    categories        (K,) category ids, ascending
    """

    precision: np.ndarray
    scores: np.ndarray
    recall: np.ndarray
    categories: np.ndarray


def coco_curves(ground_truth: CocoTruth, detections: np.ndarray, images: np.ndarray | None = None) -> Curves:
    """Precision and recall of detections against a COCO dictionary (images, annotations, categories), left unchanged.

    detections (N, 7): image id, x, y, width, height, score, category id. `images` restricts the evaluation to these
    ids. Raises ValueError for a detection in an image that the ground truth does not have.
    Checked against pycocotools 2.0.7 (fixture coco_eval) and the installed one (tests/evaluation/test_coco.py).
    """
    detections = np.asarray(detections, dtype=np.float64).reshape(-1, 7)
    strangers = np.setdiff1d(detections[:, 0], [image["id"] for image in ground_truth["images"]])
    if len(strangers):
        raise ValueError(f"image id {int(strangers[0])} has detections but is not in the ground truth")
    # The evaluator writes into the annotations it is given.
    truth = COCO({**ground_truth, "annotations": [dict(a) for a in ground_truth["annotations"]]})
    found = COCO({**ground_truth, "annotations": _as_annotations(detections)})
    evaluator = COCOeval_faster(truth, found, "bbox", extra_calc=False)
    if images is not None:
        evaluator.params.imgIds = [int(image) for image in images]
    evaluator.evaluate()
    evaluator.accumulate()
    arrays = (np.asarray(evaluator.eval[key]) for key in ("precision", "scores", "recall"))
    return Curves(*arrays, categories=np.asarray(evaluator.params.catIds))


def _as_annotations(detections: np.ndarray) -> list[dict[str, object]]:
    """Detections (N, 7) as `coco_curves` takes them, in the form of annotations with a score."""
    return [
        {
            "id": number,
            "image_id": int(image),
            "category_id": int(category),
            "bbox": [x, y, width, height],
            "area": width * height,
            "score": score,
            "iscrowd": 0,
        }
        for number, (image, x, y, width, height, score, category) in enumerate(detections.tolist(), start=1)
    ]


def summarize(curves: Curves, names: dict[int, str]) -> Metrics:
    """The twelve numbers and, under `per_class`, AP and AP50 of each class; percent, None where undefined.

    names: category id to class name. A number is undefined when no object of its size or class is there to be found.
    """
    precision, recall = curves.precision, curves.recall
    best = precision[..., _AT_MOST_100]
    numbers = {
        "AP": _percent(best[..., _ALL]),
        "AP50": _percent(best[0, ..., _ALL]),
        "AP75": _percent(best[5, ..., _ALL]),
    }
    numbers |= {f"AP_{size}": _percent(best[..., k]) for k, size in enumerate(_SIZES) if k}
    numbers |= {f"AR{limit}": _percent(recall[:, :, _ALL, k]) for k, limit in enumerate((1, 10, 100))}
    numbers |= {f"AR_{size}": _percent(recall[:, :, k, _AT_MOST_100]) for k, size in enumerate(_SIZES) if k}
    per_class = {
        names[int(category)]: {"AP": _percent(best[:, :, k, _ALL]), "AP50": _percent(best[0, :, k, _ALL])}
        for k, category in enumerate(curves.categories)
    }
    return cast(Metrics, {**numbers, "per_class": per_class})


def _percent(values: np.ndarray) -> float | None:
    """100 times the mean of the values that are defined, None if none is."""
    defined = values[values > -1]
    return float(defined.mean() * 100) if len(defined) else None


def coco_numbers(ground_truth: CocoTruth, detections: np.ndarray, images: np.ndarray | None = None) -> Metrics:
    """`summarize` of `coco_curves`: detections (N, 7) in, the numbers of a table out; errors as there."""
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    return summarize(coco_curves(ground_truth, detections, images), names)


def coco_dictionary(dataset: GroundTruth) -> CocoTruth:
    """A data set's annotations as a COCO dictionary; ignored boxes are crowds, category ids are label + 1.

    The area that decides between small, medium and large is the box's.
    """
    annotations: list[CocoAnnotation] = []
    for index, image in enumerate(dataset.ids):
        boxes, labels, ignored = dataset.annotations(index)
        rows = zip(np.asarray(boxes, np.float64).reshape(-1, 4).tolist(), labels, ignored, strict=True)
        for (left, top, right, bottom), label, ignore in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,  # from 1: the evaluator takes id 0 for "no match"
                    "image_id": int(image),
                    "category_id": int(label) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(ignore),
                }
            )
    images: list[CocoImage] = [
        {"id": int(image), "height": int(size[0]), "width": int(size[1])}
        for image, size in zip(dataset.ids, dataset.sizes, strict=True)
    ]
    categories: list[CocoCategory] = [{"id": label + 1, "name": name} for label, name in enumerate(dataset.classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_rows(table: DetectionTable) -> np.ndarray:
    """A table of detections as the (N, 7) array that `coco_numbers` takes."""
    boxes = table.boxes.astype(np.float64)
    return np.column_stack([table.owners, boxes[:, :2], boxes[:, 2:] - boxes[:, :2], table.scores, table.labels + 1])


class CocoScorer(Collector):
    """COCO's numbers of a detector on a data set: `update` with each batch, then `compute`, on every process."""

    _truth: CocoTruth | None = None

    def compute(self) -> Metrics:
        """AP, AP50, AP75, AP_S, AP_M, AP_L, AR1, AR10, AR100, AR_S, AR_M, AR_L in percent (None: undefined),
        `per_class` {name: {"AP", "AP50"}} and `images`, the number of images looked at."""
        table = self.table()
        self._truth = self._truth or coco_dictionary(self.dataset)
        return {**coco_numbers(self._truth, coco_rows(table), table.images), "images": len(table.images)}
