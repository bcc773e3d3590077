"""The score of the best F1 on cases worked out by hand, and against trying every score."""

import numpy as np
import pytest

from headstart.evaluation.best_score import best_score
from headstart.report.drawing import Drawn
from headstart.report.tally import tally

A, B, FAR = [10, 10, 60, 60], [100, 100, 150, 150], [0, 150, 40, 200]


def found(boxes, scores, labels=None):
    labels = [0] * len(boxes) if labels is None else labels
    return Drawn(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), np.array(scores, float))


def objects(boxes, labels=None, ignored=None):
    labels = [0] * len(boxes) if labels is None else labels
    ignored = None if ignored is None else np.array(ignored)
    return Drawn(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), None, ignored)


def test_the_last_right_box_is_worth_a_wrong_one_or_not():
    # F1 after each box, of 2 objects: 2/3, 2/4, 4/5
    best = best_score([found([A, FAR, B], [0.9, 0.8, 0.7])], [objects([A, B])])
    assert (best.score, best.f1) == (0.7, pytest.approx(0.8))


def test_a_second_box_of_an_object_and_another_class_are_wrong():
    best = best_score([found([A, A, B], [0.9, 0.8, 0.7], [0, 0, 1])], [objects([A, B])])
    assert (best.score, best.f1) == (0.9, pytest.approx(2 / 3))


def test_ignored_objects_count_neither_way():
    best = best_score([found([A, B], [0.9, 0.8])], [objects([A, B], ignored=[True, False])])
    assert (best.score, best.f1) == (0.8, 1.0)


def test_boxes_of_one_score_are_shown_together():
    best = best_score([found([A, FAR, B], [0.9, 0.5, 0.5])], [objects([A, B])])
    assert (best.score, best.f1) == (0.5, pytest.approx(0.8))


@pytest.mark.parametrize("boxes", [[], [FAR]])
def test_nothing_right_gives_one_and_zero(boxes):
    best = best_score([found(boxes, [0.5] * len(boxes))], [objects([A])])
    assert (best.score, best.f1) == (1.0, 0.0)


def test_equals_trying_every_score():
    """By the count below the pictures (`tally`), which is another piece of code."""
    rng = np.random.default_rng(0)
    images, truth = [], []
    for _ in range(12):
        corner = rng.uniform(0, 60, (4, 2))
        wanted = np.concatenate([corner, corner + rng.uniform(20, 40, (4, 2))], axis=1)
        guesses = np.concatenate([wanted + rng.normal(0, 4, wanted.shape), wanted + rng.normal(0, 9, wanted.shape)])
        truth.append(objects(wanted, rng.integers(0, 3, 4)))
        images.append(found(guesses, rng.random(8).round(2), rng.integers(0, 3, 8)))
    best = best_score(images, truth)
    tried = {}
    for score in np.unique(np.concatenate([image.scores for image in images])):
        counts = [tally(image.above(score), wanted) for image, wanted in zip(images, truth)]
        right, wrong, total = (sum(values) for values in zip(*[(c.found, c.wrong, c.wanted) for c in counts]))
        tried[score] = 2 * right / (right + wrong + total)
    assert best.f1 == pytest.approx(max(tried.values())) and tried[best.score] == pytest.approx(best.f1)
