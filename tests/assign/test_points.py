"""The point nearest to an object, on the level of its size."""

import torch

from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.assign.points import NearestPoints
from headstart.priors import place_points
from headstart.structures import Targets

STRIDES = [8, 16, 32]
POINTS = torch.cat([place_points(64 // s, 64 // s, s, within=0.0) for s in STRIDES])
OWN = torch.tensor([8.0] * 64 + [16.0] * 16 + [32.0] * 4)


def truth(*boxes, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), marks)


def around(x, y, width, height):
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def chosen(targets, usable=None, **options):
    """{(x, y, stride): answer} of the points that answer for something."""
    found = NearestPoints(**options)(POINTS, OWN, targets, usable).tolist()
    return {(*map(int, p), int(s)): a for p, s, a in zip(POINTS.tolist(), OWN.tolist(), found) if a not in (NEGATIVE,)}


def test_the_level_of_a_size():
    """4 to 8 strides by the geometric mean of the sides; smaller and larger boxes on the first and last level."""
    sides = {4: 8, 31: 8, 32: 8, 63: 8, 64: 16, 127: 16, 128: 32, 255: 32, 256: 32, 5000: 32}
    for side, stride in sides.items():
        assert [s for *_, s in chosen(truth(around(33, 33, side, side)))] == [stride], side
        assert [s for *_, s in chosen(truth(around(33, 33, side * 2, side / 2)))] == [stride], side
    assert [s for *_, s in chosen(truth(around(33, 33, 32, 32)), scale=2.0)] == [16]


def test_the_nearest_point_and_no_other():
    assert chosen(truth(around(19, 30, 40, 40))) == {(16, 32, 8): 0}
    assert chosen(truth(around(19, 30, 40, 40)), count=2) == {(16, 32, 8): 0, (24, 32, 8): 0}


def test_distances_are_in_units_of_the_sides():
    """Along a long side a point is nearer than across."""
    assert chosen(truth(around(20.5, 21, 100, 16)), count=2) == {(24, 24, 8): 0, (16, 24, 8): 0}
    assert chosen(truth(around(20.5, 21, 16, 100)), count=2) == {(24, 24, 8): 0, (24, 16, 8): 0}


def test_the_nearest_of_two_objects_gets_the_point_and_the_first_of_equals():
    far, near = around(18, 16, 40, 40), around(17, 16, 40, 40)
    assert chosen(truth(far, near)) == {(16, 16, 8): 1}
    assert chosen(truth(near, far)) == {(16, 16, 8): 0}
    assert chosen(truth(near, near)) == {(16, 16, 8): 0}


def test_unusable_points_and_ignored_boxes():
    box = around(17, 16, 40, 40)
    usable = POINTS[:, 0] != 16
    found = chosen(truth(box), usable)
    assert found.pop((24, 16, 8)) == 0 and set(found.values()) == {IGNORED} and len(found) == int((~usable).sum())
    assert chosen(truth(box, around(40, 40, 40, 40), ignored=[0])) == {(40, 40, 8): 1}
    assert chosen(truth(box, ignored=[0])) == {} == chosen(truth())
    nobody = chosen(truth(box), usable & False)
    assert len(nobody) == 84 and set(nobody.values()) == {IGNORED}


def test_no_points():
    assert NearestPoints()(POINTS[:0], OWN[:0], truth((0, 0, 9, 9))).tolist() == []
