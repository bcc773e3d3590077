"""The score from which on a detector's boxes are best shown: that of the largest F1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headstart.evaluation.voc import matches

OVERLAP = 0.5
"""IoU from which on a box finds an object of its class."""


class Boxes(Protocol):
    """Boxes of one image: boxes (N, 4) xyxy px, labels (N,); scores (N,) of detections, ignored (N,) of objects."""

    @property
    def boxes(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray | None: ...
    @property
    def ignored(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class BestScore:
    """Boxes of at least this `score` have the best `f1` (0..1) of all thresholds."""

    score: float
    f1: float


def best_score(found: Sequence[Boxes], truth: Sequence[Boxes]) -> BestScore:
    """Over all classes together, of the same images in the same order.

    A box is right if the object of its class that it overlaps most has an IoU of at least 0.5 and no better box of that
    class has claimed it, as in Pascal VOC's evaluation; boxes on ignored objects count neither way. Without detections,
    or if none is right, the score is 1 and the F1 0.
    """
    scores, hits = [], []
    for label in np.unique(np.concatenate([image.labels for image in found], dtype=np.int64) if found else []):
        score, right, counted = _judge(found, truth, int(label))
        scores.append(score[counted])
        hits.append(right[counted])
    objects = sum(len(image.labels) - int(_ignored(image).sum()) for image in truth)
    score = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-score, kind="stable")
    right = np.concatenate(hits)[order].cumsum() if scores else np.zeros(0)
    if not len(right) or not right[-1]:
        return BestScore(1.0, 0.0)
    f1 = 2 * right / (np.arange(1, len(right) + 1) + objects)
    # Boxes of one score are shown together or not at all.
    last = np.append(score[order][1:] != score[order][:-1], True)
    place = int(np.where(last, f1, -1.0).argmax())
    return BestScore(float(score[order][place]), float(f1[place]))


def _judge(found: Sequence[Boxes], truth: Sequence[Boxes], label: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all boxes of one class, best first: their scores, which are right, and which count at all."""
    boxes, images, scores = _stack(found, label, _scores)
    wanted, owners, ignored = _stack(truth, label, _ignored)
    order = np.argsort(-scores, kind="stable")
    best, overlap = matches(boxes[order], images[order], wanted, owners)
    hit = overlap >= OVERLAP
    skipped = np.zeros(len(order), bool)
    skipped[hit] = ignored[best[hit]].astype(bool)
    claims = np.flatnonzero(hit & ~skipped)
    right = np.zeros(len(order), bool)
    right[claims[np.unique(best[claims], return_index=True)[1]]] = True  # of each object the first, so the best, box
    return scores[order], right, ~skipped


def _stack(
    images: Sequence[Boxes], label: int, read: Callable[[Boxes], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boxes of one class of all images, the number of each one's image, and what `read` says of it."""
    rows = [np.flatnonzero(image.labels == label) for image in images]
    boxes = [image.boxes[row].astype(float) for image, row in zip(images, rows)]
    values = [read(image)[row] for image, row in zip(images, rows)]
    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return np.concatenate(boxes).reshape(-1, 4), numbers, np.concatenate(values)


def _scores(image: Boxes) -> np.ndarray:
    return np.ones(len(image.labels)) if image.scores is None else image.scores


def _ignored(image: Boxes) -> np.ndarray:
    return np.zeros(len(image.labels), bool) if image.ignored is None else image.ignored.astype(bool)
