"""The threshold of the best F1 against trying every one of them, on detections that are filtered first."""

import numpy as np
import pytest

from evaluation.scoring_cases import Annotated, batch_of, found, random_scene
from headstart.evaluation.thresholds import ThresholdScorer, best_f1
from headstart.evaluation.voc import pair_iou

A, B, FAR = [10, 10, 60, 60], [100, 100, 150, 150], [0, 150, 40, 200]


def choose(truth, detections):
    scorer = ThresholdScorer(truth)
    for image, detection in detections.items():
        scorer.update(batch_of([image]), [detection])
    return scorer.choose()


def counts_above(truth, detections, threshold, labels):
    """Hits, mistakes and objects of some classes among the detections from a score on, worked out one by one."""
    hits = mistakes = objects = 0
    for index, image in enumerate(truth.ids):
        boxes, classes, ignored = truth.annotations(index)
        rows = detections[image]
        claimed = set()
        objects += sum(int(label) in labels and not skip for label, skip in zip(classes, ignored))
        for row in np.argsort(-rows.scores.numpy(), kind="stable"):
            label, score = int(rows.labels[row]), float(rows.scores[row])
            own = np.flatnonzero(classes == label)
            if label not in labels or score < threshold:
                continue
            box = np.repeat(rows.boxes[row].numpy()[None].astype(np.float64), len(own), 0)
            overlaps = pair_iou(box, boxes[own]) if len(own) else np.zeros(0)
            best = own[overlaps.argmax()] if len(own) else -1
            if len(own) and overlaps.max() >= 0.5:
                if ignored[best]:
                    continue
                if best not in claimed:
                    claimed.add(best)
                    hits += 1
                    continue
            mistakes += 1
    return hits, mistakes, objects


def best_by_trying(truth, detections, labels):
    every = sorted({score for rows in detections.values() for score in rows.scores.tolist()}, reverse=True)
    tried = []
    for threshold in every:
        hits, mistakes, objects = counts_above(truth, detections, threshold, labels)
        tried.append((2 * hits / max(hits + mistakes + objects, 1), threshold))
    f1 = max(value for value, _ in tried)
    return f1, [threshold for value, threshold in tried if value == f1]


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_has_a_better_f1(seed):
    truth, detections = random_scene(seed)
    chosen = choose(truth, detections)
    assert list(chosen) == list(truth.classes)
    found_some = 0
    for label, name in enumerate(truth.classes):
        f1, thresholds = best_by_trying(truth, detections, {label})
        own = chosen[name]
        if f1:
            assert own.f1 == pytest.approx(f1)
            # A score that no detection of this class has takes the same detections as the next one above it.
            hits = counts_above(truth, detections, own.threshold, {label})
            assert hits == counts_above(truth, detections, max(thresholds), {label})
            found_some += 1
    assert found_some >= 3 and chosen["class 4"].f1 is None
    _, together = best_by_trying(truth, detections, set(range(5)))
    assert chosen["class 4"].threshold == pytest.approx(max(together))


def test_detections_of_one_score_go_together():
    """Taking only the right one of three would be best, but their scores do not tell them apart."""
    assert best_f1(np.array([0.9, 0.9, 0.9, 0.2]), np.array([True, False, False, True]), 2) == (
        0.2,
        pytest.approx(4 / 6),
    )
    assert best_f1(np.array([0.9, 0.5]), np.array([True, False]), 1) == (pytest.approx(0.9), 1.0)
    assert best_f1(np.array([0.9]), np.array([False]), 1) == (1.0, 0.0)


def test_ignored_objects_neither_count_nor_cost():
    truth = Annotated({1: ([A, B], [0, 0], [True, False])})
    chosen = choose(truth, {1: found([A, B, FAR], [0.9, 0.6, 0.3], [0, 0, 0])})
    assert chosen["cat"].threshold == pytest.approx(0.6) and chosen["cat"].f1 == 1
