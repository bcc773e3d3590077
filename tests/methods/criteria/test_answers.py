"""Answers about regions, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from headstart.methods.criteria.answers import RegionAnswers

BOX = torch.tensor([[0.0, 0, 10, 10]])
HALF = torch.tensor([[0.0, 0, 10, 5]])  # GIoU 0.5 with the first


def step(*labels):
    regions = [SimpleNamespace(labels=torch.tensor(image, dtype=torch.int64)) for image in labels]
    return SimpleNamespace(regions=regions, student=SimpleNamespace(head=SimpleNamespace(num_classes=3)))


def answers(logits, boxes, known):
    return [torch.tensor(logits), torch.cat(boxes), torch.tensor(known)]


def test_classes_are_divided_by_the_objects_and_boxes_by_their_weights():
    """The student's probabilities are 0.5; the teacher's 0.8 and 0.5, then 0.5 and 0.2. The third has no answer."""
    own = answers([[0.0, 0], [0, 0], [9, 9]], [BOX, HALF, BOX], [1.0, 1, 0])
    goal = answers([[math.log(4), 0.0], [0, -math.log(4)], [0, 0]], [BOX, BOX, HALF], [1.0, 1, 1])
    found = RegionAnswers({"cls": 1.0, "box": 1.0})(own, goal, step([0, 2, 3]))
    assert found["cls"].item() == pytest.approx(2 * 0.3 * math.log(2) / 2, rel=1e-5)
    assert found["box"].item() == pytest.approx(0.5 * 0.5 / (0.8 + 0.5), rel=1e-5)


def test_an_image_without_objects_counts_one():
    own, goal = answers([[0.0]], [BOX], [1.0]), answers([[math.log(4)]], [BOX], [1.0])
    criterion = RegionAnswers({"cls": 1.0, "box": 1.0})
    assert criterion(own, goal, step([3], []))["cls"].item() == pytest.approx(0.3 * math.log(2) / 2, rel=1e-5)


def test_regions_that_nobody_knows_give_zero_and_the_teacher_gets_no_gradient():
    own = answers([[1.0]], [BOX], [0.0])
    goal = [x.requires_grad_() for x in answers([[2.0]], [HALF], [1.0])]
    own[0].requires_grad_()
    found = RegionAnswers({"cls": 1.0, "box": 1.0})(own, goal, step([3]))
    (found["cls"] + found["box"]).backward()
    assert found["cls"] == found["box"] == 0 and goal[0].grad is None
