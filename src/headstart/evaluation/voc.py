"""Pascal VOC's average precision at IoU 0.5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from headstart.evaluation.collect import Collector
from headstart.evaluation.gather import DetectionTable
from headstart.evaluation.metrics import Metrics, Scores

RECALLS = 11
"""Points of the older, interpolated measure: recall 0, 0.1 ... 1."""


def matches(
    found: np.ndarray, found_images: np.ndarray, wanted: np.ndarray, wanted_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best overlapping ground truth of the same image for each detection, of one class.

    found (N, 4), found_images (N,), wanted (M, 4), wanted_images (M,) sorted ascending.
    Returns the index (N,) into `wanted`, -1 where the image has none, and the IoU (N,), 0 there.
    """
    best, overlap = np.full(len(found), -1), np.zeros(len(found))
    first = np.searchsorted(wanted_images, found_images, side="left")
    counts = np.searchsorted(wanted_images, found_images, side="right") - first
    filled = np.flatnonzero(counts)
    if not len(filled):
        return best, overlap
    # One row per pair of a detection and a ground truth of its image; the pairs of a detection stand together.
    counts, starts = counts[filled], np.cumsum(counts[filled]) - counts[filled]
    left = np.repeat(filled, counts)
    right = np.repeat(first[filled] - starts, counts) + np.arange(len(left))
    pairs = pair_iou(found[left], wanted[right])
    overlap[filled] = np.maximum.reduceat(pairs, starts)
    # The first of equal overlaps, as in the devkit.
    hits = np.flatnonzero(pairs == np.repeat(overlap[filled], counts))
    owners, at = np.unique(left[hits], return_index=True)
    best[owners] = right[hits[at]]
    return best, overlap


def pair_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU (N,) of boxes (N, 4) row by row; 0 for two empty boxes."""
    corner, opposite = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(axis=1)
    union = (first[:, 2:] - first[:, :2]).prod(axis=1) + (second[:, 2:] - second[:, :2]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def average_precision(hits: np.ndarray, wanted: int) -> tuple[float, float]:
    """AP from hits (N,) bool in order of falling score: area under the curve, and mean over 11 recalls; 0..1.

    Precision at a recall is the best one reached at that recall or a higher one. `wanted` > 0 objects were to be found.
    """
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(envelope[hits].sum() / wanted)
    # Recall >= k / 10 in whole numbers: 0.3 >= 3 * 0.1 is false in floating point.
    reached = np.searchsorted(true * (RECALLS - 1), np.arange(RECALLS) * wanted)
    points = np.append(envelope, 0.0)[reached]
    return area, float(points.mean())


def voc_class(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], threshold: float) -> list[float] | None:
    """Both measures for one class, or None when nothing but difficult objects exists.

    found   images (N,), boxes (N, 4) xyxy, scores (N,);  wanted  images (M,), boxes (M, 4) xyxy, ignored (M,) bool

    Every detection belongs to the object it overlaps most. It is a hit if the overlap reaches the threshold and no
    better-scored detection has claimed the object; it does not count at all if that object is ignored; else it is a
    mistake.
    """
    count = int((~wanted["ignored"]).sum())
    if count == 0:
        return None
    _, hits = judge(found, wanted, threshold)
    return list(average_precision(hits, count))


def judge(
    found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) falling and hits (N,) bool of those detections of a class that count; see `voc_class`."""
    order = np.argsort(-found["scores"], kind="stable")
    truth = np.argsort(wanted["images"], kind="stable")
    ignored = wanted["ignored"][truth]
    boxes = found["boxes"][order].astype(np.float64)
    best, overlap = matches(boxes, found["images"][order], wanted["boxes"][truth], wanted["images"][truth])
    claims = (best >= 0) & (overlap >= threshold)
    rows = np.flatnonzero(claims)
    _, winners = np.unique(best[rows], return_index=True)
    hits = np.zeros(len(order), bool)
    hits[rows[winners]] = True
    counted = np.ones(len(order), bool)
    counted[rows] = ~ignored[best[rows]]
    return found["scores"][order][counted], hits[counted]


class VocScorer(Collector):
    """VOC AP of a detector on a data set; difficult (ignored) objects neither count nor cost.

    `compute` gives `VOC_AP` (area under the curve, VOC 2010 and later) and `VOC_AP11` (11 points, VOC 2007) in percent,
    means over the classes that have an object; the same under `per_class` for each class, None for one without
    objects. Boxes are continuous coordinates: an overlap has no added pixel as in the devkit's integer boxes.
    Source: the VOC devkit's VOCevaldet; a detection at exactly the threshold is a hit there, too.
    """

    threshold = 0.5

    def compute(self) -> Metrics:
        """The numbers above; a collective call in a distributed run."""
        table = self.table()
        per_class: dict[str, Scores] = {}
        for name, (found, wanted) in zip(self.dataset.classes, self.by_class(table)):
            area, points = voc_class(found, wanted, self.threshold) or (None, None)
            per_class[name] = {"VOC_AP": _percent(area), "VOC_AP11": _percent(points)}
        return {
            "VOC_AP": _mean([scores["VOC_AP"] for scores in per_class.values()]),
            "VOC_AP11": _mean([scores["VOC_AP11"] for scores in per_class.values()]),
            "per_class": per_class,
            "images": len(table.images),
        }

    def by_class(self, table: DetectionTable) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """What was found of each class, and what was to be found in the same images, as `voc_class` takes them."""
        images, boxes, labels, ignored = self._wanted(table.images)
        for label in range(len(self.dataset.classes)):
            mine, theirs = table.labels == label, labels == label
            found = {"images": table.owners[mine], "boxes": table.boxes[mine], "scores": table.scores[mine]}
            yield found, {"images": images[theirs], "boxes": boxes[theirs], "ignored": ignored[theirs]}

    def _wanted(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        scored = set(images.tolist())
        owners, parts = [np.zeros(0, np.int64)], [(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool))]
        for index, image in enumerate(self.dataset.ids):
            if image in scored:
                boxes, labels, ignored = self.dataset.annotations(index)
                parts.append((np.asarray(boxes).reshape(-1, 4), np.asarray(labels), np.asarray(ignored, bool)))
                owners.append(np.full(len(labels), image))
        boxes, labels, ignored = (np.concatenate(column) for column in zip(*parts, strict=True))
        return np.concatenate(owners), boxes, labels, ignored


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
