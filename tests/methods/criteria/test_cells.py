"""Predictions of cells, whatever the kind of head."""

import torch

from headstart.heads.cells import flatten
from headstart.methods.criteria.cells import best_of_cells, joint_logits
from laws.tiny import detector, scene


def test_the_logit_of_a_product():
    first, second = torch.tensor([-40.0, -2.0, 0.5, 30.0]), torch.tensor([3.0, 1.0, -0.5, 30.0])
    product = first.double().sigmoid() * second.double().sigmoid()
    found = joint_logits(first, second)
    torch.testing.assert_close(found[:3].double(), (product / (1 - product)).log()[:3], rtol=1e-5, atol=1e-5)
    assert found[3] > 10 and bool(found.isfinite().all())


def test_a_head_with_an_objectness_is_compared_by_class_times_objectness():
    built = detector("yolox")
    outputs = built(scene()[0])
    logits, boxes = best_of_cells(built.head, outputs, 3, lambda every: every)
    expected = flatten(outputs.cls, 3).sigmoid() * flatten(outputs.quality, 1).sigmoid()
    torch.testing.assert_close(logits.sigmoid(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(boxes, built.head.boxes(outputs))
