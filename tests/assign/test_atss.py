"""Adaptive assignment: who is looked at, the threshold, rivals, ignored boxes."""

import pytest
import torch

from headstart.assign.atss import ATSS
from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.boxes import pairwise_iou
from headstart.priors import base_anchors, place_anchors
from headstart.structures import Targets

COUNTS = [64, 16, 4]


def pyramid():
    """One square anchor of 4 strides per cell, for 64 x 64 pixels at strides 8, 16, 32."""
    return torch.cat([place_anchors(base_anchors(s, [4.0], [1.0]), 64 // s, 64 // s, s) for s in (8, 16, 32)])


def truth(*boxes, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), marks)


def slowly(anchors, counts, boxes, usable, count=9):
    """The rule as the paper says it, one object and one anchor at a time; rivals are settled by overlap."""
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    overlap = pairwise_iou(boxes, anchors)
    answers, best = [NEGATIVE] * len(anchors), [-1.0] * len(anchors)
    for index, box in enumerate(boxes):
        middle = (box[:2] + box[2:]) / 2
        looked, start = [], 0
        for number in counts:
            level = [i for i in range(start, start + number) if usable[i]]
            looked += sorted(level, key=lambda i: float((centres[i] - middle).square().sum()))[:count]
            start += number
        values = overlap[index, looked]
        limit = values.mean() + values.std()
        for i in looked:
            inside = min(*(centres[i] - box[:2]).tolist(), *(box[2:] - centres[i]).tolist()) > 0.01
            if inside and overlap[index, i] >= limit and overlap[index, i] > best[i]:
                answers[i], best[i] = index, float(overlap[index, i])
    return [a if ok else IGNORED for a, ok in zip(answers, usable.tolist())]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_as_the_paper_says(seed, whole):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(6, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 4 + torch.rand(6, 2, generator=generator) * 30], dim=1)
    anchors = pyramid()
    usable = torch.ones(len(anchors), dtype=torch.bool)
    if not whole:
        usable = torch.rand(len(anchors), generator=generator) < 0.6
        usable[64:82] = torch.rand(18, generator=generator) < 0.2  # levels with fewer than nine
    found = ATSS()(anchors, COUNTS, truth(*boxes.tolist()), usable).tolist()
    assert found == slowly(anchors, COUNTS, boxes, usable)
    assert sum(a >= 0 for a in found) >= 6 or not whole


def test_the_threshold_by_hand():
    """Of four anchors with IoU 1, 1/2, 1/3 and 1/4 only the first reaches mean + deviation = 0.52 + 0.34."""
    anchors = torch.tensor([[0.0, 0, 8, 8], [0, 0, 16, 8], [0, 0, 24, 8], [0, 0, 32, 8]])
    box = truth((0, 0, 8, 8))
    assert ATSS()(anchors, [4], box).tolist() == [0, NEGATIVE, NEGATIVE, NEGATIVE]
    # One alone is its own mean; of two alone, neither is a whole (sample) deviation above it.
    assert ATSS()(anchors[:1], [1], box).tolist() == [0]
    assert ATSS(topk=1)(anchors, [1, 3], box).tolist() == [NEGATIVE] * 4


def test_its_centre_must_lie_inside():
    """A box between four anchors overlaps all of them alike, but none is centred in it."""
    anchors = torch.tensor([[0.0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]])
    assert ATSS()(anchors, [4], truth((10, 10, 22, 22))).tolist() == [NEGATIVE] * 4
    assert ATSS()(anchors, [4], truth((7.9, 7.9, 24.1, 24.1))).tolist() == [0] * 4
    assert ATSS(margin=0.2)(anchors, [4], truth((7.9, 7.9, 24.1, 24.1))).tolist() == [NEGATIVE] * 4


def test_the_object_that_overlaps_more_gets_the_anchor():
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    assert ATSS()(anchor, [1], truth((0, 0, 20, 10), (0, 0, 10, 12), (0, 0, 10, 12))).tolist() == [1]


def test_anchors_that_are_not_usable_are_looked_at_for_nobody():
    anchors = torch.tensor([[0.0, 0, 8, 8], [1, 1, 9, 9], [40, 40, 48, 48], [50, 50, 58, 58]])
    usable = torch.tensor([False, True, True, True])
    box = truth((0, 0, 8, 8))
    assert ATSS()(anchors, [4], box, usable).tolist() == [IGNORED, 0, NEGATIVE, NEGATIVE]
    assert ATSS(topk=3)(anchors, [4], box, usable).tolist() == [IGNORED, 0, NEGATIVE, NEGATIVE]
    assert ATSS()(anchors, [4], box, ~usable).tolist() == [0, IGNORED, IGNORED, IGNORED]
    assert ATSS()(anchors, [4], box, usable & False).tolist() == [IGNORED] * 4


def test_anchors_in_ignored_boxes_are_not_background():
    anchors = torch.tensor([[0.0, 0, 8, 8], [20, 20, 28, 28], [27, 20, 35, 28], [40, 40, 48, 48]])
    targets = truth((20, 20, 32, 32), (0, 0, 8, 8), ignored=[0])
    assert ATSS()(anchors, [4], targets).tolist() == [1, IGNORED, IGNORED, NEGATIVE]
    assert ATSS(ignore_iof=0.7)(anchors, [4], targets).tolist() == [1, IGNORED, NEGATIVE, NEGATIVE]
    own = truth((20, 20, 28, 28), (18, 18, 32, 30), ignored=[1])
    assert ATSS()(anchors, [4], own).tolist() == [NEGATIVE, 0, IGNORED, NEGATIVE]


def test_nothing_to_find_and_nothing_to_find_it_with():
    anchors = pyramid()
    assert ATSS()(anchors, COUNTS, truth()).tolist() == [NEGATIVE] * 84
    assert ATSS()(anchors[:0], [0], truth((0, 0, 9, 9))).tolist() == []
    assert ATSS()(anchors, COUNTS, truth((5, 5, 5, 5))).tolist() == [NEGATIVE] * 84  # without area


def test_the_threshold_of_each_object_is_the_mean_plus_the_deviation_of_those_looked_at():
    anchors, boxes = pyramid(), torch.tensor([[4.0, 6, 40, 40], [30, 30, 60, 62]])
    found = ATSS().thresholds(anchors, COUNTS, boxes)
    overlap, centres = pairwise_iou(boxes, anchors), (anchors[:, :2] + anchors[:, 2:]) / 2
    for row, box in enumerate(boxes):
        apart = (centres - (box[:2] + box[2:]) / 2).square().sum(dim=1)
        parts = zip(apart.split(COUNTS), overlap[row].split(COUNTS))
        looked = torch.cat([one[level.topk(min(9, len(level)), largest=False).indices] for level, one in parts])
        torch.testing.assert_close(found[row], looked.mean() + looked.std())
