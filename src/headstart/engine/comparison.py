"""A picture of what several detectors find in the same images, each from its best score on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.config import Data
from headstart.data.dataset import DetectionDataset
from headstart.detectors.detector import Detector
from headstart.engine.build import validation_batches
from headstart.engine.predict import find_objects
from headstart.evaluation.evaluate import evaluate
from headstart.evaluation.thresholds import ThresholdScorer
from headstart.report.gallery import Drawn, Row, comparison


@dataclass(frozen=True)
class BestScore:
    """The score from which on a detector's boxes have the best F1 (0..1) over all images and classes, and that F1."""

    score: float
    f1: float


def best_scores(detectors: Mapping[str, Detector], images: DetectionDataset, data: Data) -> dict[str, BestScore]:
    """By detector, at IoU 0.5; `data` says how images are resized."""
    found, batches = {}, validation_batches(data, images)
    for name, detector in detectors.items():
        scorer = ThresholdScorer(images)
        evaluate(detector, batches, scorer)
        found[name] = BestScore(*scorer.best())
    return found


def compare_detectors(
    detectors: Mapping[str, Detector],
    images: DetectionDataset,
    data: Data,
    *,
    scores: Mapping[str, BestScore],
    shown: Sequence[int],
    notes: Mapping[str, str],
    footer: str = "",
) -> np.ndarray:
    """One picture (H, W, 3) uint8: a row per image, ground truth first, then a column per detector.

    scores  from which on the boxes of each are drawn;  shown  numbers of images;  notes  a line under each heading
    """
    short, long = data.largest
    rows = []
    for index in shown:
        pixels = images[index].image
        boxes, labels, ignored = images.annotations(index)
        columns = {"ground truth": Drawn(boxes, labels, None, ignored)}
        for name, detector in detectors.items():
            found = find_objects(detector, pixels, short=short, long=long, square=data.square)
            columns[name] = Drawn.of(found, threshold=scores[name].score)
        rows.append(Row(np.asarray(pixels.permute(1, 2, 0)), columns))
    lines = {name: f"{note}, boxes from score {scores[name].score:.2f} on" for name, note in notes.items()}
    return comparison(rows, images.classes, notes=lines, footer=footer)
