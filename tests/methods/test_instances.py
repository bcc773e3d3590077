"""Instances about which two detectors disagree."""

import torch

from headstart.classmap import match_classes
from headstart.methods.criteria.cells import every_prior
from headstart.methods.instances import disagreeing_priors, disagreeing_proposals
from headstart.structures import CellIndex, Detections
from laws.tiny import CLASSES, detector, scene


@torch.no_grad()
def test_the_prior_that_is_disagreed_about_most_comes_first_with_the_surer_sides_box():
    own, other = detector("fcos", 0), detector("fcos", 1)
    images, _ = scene(size=64)
    outputs = own(images), other(images)
    outputs[1].cls[0][0, 2, 1, 3] += 30  # the teacher is sure of a star at row 1, column 3, and the student is not
    outputs[0].cls[0][0, :, 1, 3] -= 30
    found = disagreeing_priors((own.head, other.head), outputs, match_classes(CLASSES, CLASSES), images.sizes, 4)
    row = outputs[0].cls[0].shape[-1] + 3
    _, boxes = every_prior(other.head, outputs[1], len(outputs[1].cls), lambda x: x)
    height, width = images.sizes[0]
    limit = torch.tensor([width, height, width, height])
    torch.testing.assert_close(found[0].boxes[0], boxes[0, row].clamp(min=0).minimum(limit))
    assert found[0].labels[0] == 2 and all(len(t) <= 4 for t in found)
    assert all(bool((t.boxes[:, 2:] > t.boxes[:, :2]).all()) and not t.ignored.any() for t in found)


def detections(*rows):
    boxes = torch.tensor([row[:4] for row in rows]).reshape(-1, 4)
    scores = torch.tensor([row[4] for row in rows])
    return Detections(boxes, scores, torch.zeros(len(rows), dtype=torch.int64), CellIndex.none(len(rows)))


A, B, C = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0)


def test_proposals_by_the_difference_of_what_both_think_of_a_box():
    """A: 0.9 and 0.8; B: nothing and 0.7; C: 0.5 and nothing."""
    own = detections((*A, 0.9), (*C, 0.5))
    other = detections((*A, 0.8), (*B, 0.7))
    (found,) = disagreeing_proposals([own], [other], [(64, 64)], 10)
    assert found.boxes.tolist() == [list(B), list(C), list(A)]
    (two,) = disagreeing_proposals([own], [other], [(64, 64)], 2)
    assert two.boxes.tolist() == [list(B), list(C)]


def test_images_in_which_one_side_or_both_propose_nothing():
    nothing, something = detections(), detections((*A, 0.9))
    found = disagreeing_proposals([nothing, nothing], [something, nothing], [(64, 64)] * 2, 10)
    assert [t.boxes.tolist() for t in found] == [[list(A)], []]


def test_boxes_are_clipped_and_those_outside_dropped():
    own = detections((-5.0, -5.0, 10.0, 10.0, 0.9), (70.0, 0.0, 80.0, 10.0, 0.8))
    (found,) = disagreeing_proposals([own], [detections()], [(64, 64)], 10)
    assert found.boxes.tolist() == [[0, 0, 10, 10]]
