"""Assignment of points: ranges, the smallest box, centre sampling, ignored boxes."""

import torch

from headstart.assign.center import CenterRange
from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.heads.fcos import level_ranges
from headstart.structures import Targets

RANGES = [(-1.0, 64.0), (64.0, 128.0), (128.0, 1e8)]


def truth(*boxes, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), marks)


def assign(points, targets, level=0, radius=None, stride=8.0):
    places = torch.tensor(points, dtype=torch.float32).reshape(-1, 2)
    levels = torch.full((len(places),), level) if isinstance(level, int) else torch.tensor(level)
    return CenterRange(RANGES, radius)(places, levels, torch.full((len(places),), stride), targets).tolist()


def test_ranges_of_the_levels():
    """FCOS's 64, 128, 256, 512 follow from the strides."""
    ends = [end for _, end in level_ranges([8, 16, 32, 64, 128], 8.0)]
    assert ends == [64, 128, 256, 512, 1e8]
    assert [low for low, _ in level_ranges([8, 16, 32, 64, 128], 8.0)] == [-1, 64, 128, 256, 512]


def test_points_inside_a_box_answer_for_it():
    """Points on its edge lie outside."""
    points = [(5, 5), (0.5, 5), (0, 5), (10, 5), (5, 10), (11, 5), (9.9, 9.9)]
    assert assign(points, truth((0, 0, 10, 10))) == [0, 0, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE, 0]


def test_each_level_answers_for_its_range():
    """The largest of the four distances decides, and both ends belong to the range."""
    box = truth((0, 0, 128, 20))
    assert assign([(64, 10)] * 3, box, [0, 1, 2]) == [0, 0, NEGATIVE]  # exactly 64
    assert assign([(60, 10)] * 3, box, [0, 1, 2]) == [NEGATIVE, 0, NEGATIVE]  # 68 to the right
    assert assign([(150, 10)] * 3, truth((0, 0, 400, 20)), [0, 1, 2]) == [NEGATIVE, NEGATIVE, 0]


def test_the_smallest_box_wins():
    boxes = (0, 0, 50, 50), (10, 10, 30, 30), (0, 0, 40, 40)
    assert assign([(20, 20), (35, 35), (45, 45), (60, 60)], truth(*boxes)) == [1, 2, 0, NEGATIVE]


def test_the_smallest_box_of_the_right_size_wins():
    """A small box that suits another level does not stand in the way."""
    boxes = (0, 0, 200, 100), (80, 30, 120, 60)
    assert assign([(100, 50)] * 3, truth(*boxes), [0, 1, 2]) == [1, 0, NEGATIVE]


def test_centre_sampling():
    """Only points within `radius` strides of the middle, and never outside the box."""
    wide = truth((0, 0, 60, 10))
    points = [(30, 5), (41.9, 5), (42.1, 5), (18.1, 5), (17.9, 5), (30, 9.9), (30, 10.1)]
    assert assign(points, wide, radius=1.5) == [0, 0, NEGATIVE, 0, NEGATIVE, 0, NEGATIVE]
    assert assign(points[:5], wide, radius=1.5, stride=16.0) == [0, 0, 0, 0, 0]


def test_points_in_ignored_boxes_are_not_background():
    targets = truth((0, 0, 50, 50), (10, 10, 20, 20), ignored=[0])
    assert assign([(15, 15), (30, 30), (60, 60), (50, 20)], targets) == [1, IGNORED, NEGATIVE, NEGATIVE]
    assert assign([(15, 15)], truth((0, 0, 50, 50), ignored=[0])) == [IGNORED]


def test_ignored_boxes_cover_every_level_and_their_edges():
    """Their size and their middle do not matter."""
    targets = truth((0, 0, 50, 50), ignored=[0])
    assert assign([(1, 1)] * 3, targets, [0, 1, 2], radius=1.5) == [IGNORED] * 3


def test_nothing_to_find_and_no_points():
    assert assign([(1, 1)], truth()) == [NEGATIVE]
    assert assign([], truth((0, 0, 9, 9))) == []
