"""What was found, missed and made up."""

import numpy as np

from headstart.report.drawing import Drawn
from headstart.report.tally import tally

A, B, C = [0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 10]


def drawn(boxes, labels, scores=None, ignored=None):
    arrays = [None if values is None else np.array(values) for values in (scores, ignored)]
    return Drawn(np.array(boxes, float).reshape(-1, 4), np.array(labels, int), *arrays)


def test_found_missed_wrong():
    result = tally(drawn([A, A, [1, 0, 10, 10], C], [0, 1, 0, 0], [0.5, 0.9, 0.6, 0.9]), drawn([A, B, C], [0, 0, 1]))
    # A is found once; its double, A as another class, and C as another class are wrong
    assert (result.found, result.wrong, result.missed.tolist()) == (1, 3, [B, C])
    assert str(result) == "1 of 3 found, 3 wrong"


def test_ignored_objects_count_neither_way():
    result = tally(drawn([A, A], [0, 0]), drawn([A, B], [0, 0], ignored=[True, False]))
    assert (result.found, result.wrong, result.missed.tolist()) == (0, 0, [B])
    assert str(tally(drawn([A], [0]), drawn([A], [0], ignored=[True]))) == "no objects"


def test_nothing_on_either_side():
    assert str(tally(drawn([], []), drawn([A], [0]))) == "0 of 1 found"
    assert str(tally(drawn([A], [0]), drawn([], []))) == "no objects, 1 wrong"
    assert str(tally(drawn([], []), drawn([], []))) == "no objects"
