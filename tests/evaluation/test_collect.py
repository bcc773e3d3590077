"""Mistakes that would otherwise end as a wrong score."""

import pytest

from evaluation.scoring_cases import Annotated, batch_of, found
from headstart.errors import UserError
from headstart.evaluation.collect import Collector
from headstart.structures import Detections


@pytest.fixture
def collector():
    return Collector(Annotated({1: ([], [], []), 2: ([], [], [])}))


def test_unknown_image(collector):
    with pytest.raises(ValueError, match=r"image id 3 is not one of the 2 images.*same data set"):
        collector.update(batch_of([3]), [found()])


def test_another_number_of_detections_than_images(collector):
    with pytest.raises(ValueError, match="2 images, found them for 1"):
        collector.update(batch_of([1, 2]), [found()])


@pytest.mark.parametrize("label", [-1, 3])
def test_label_without_a_class(collector, label):
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
        collector.update(batch_of([1]), [found([[0, 0, 5, 5]], [0.5], [label])])


@pytest.mark.parametrize("boxes, score", [([[0, 0, float("nan"), 5]], 0.5), ([[0, 0, 5, 5]], float("inf"))])
def test_diverged_detector(collector, boxes, score):
    with pytest.raises(UserError, match="learning rate"):
        collector.update(batch_of([1]), [found(boxes, [score], [0])])


def test_half_precision_detections_on_a_graph(collector):
    plain = found([[0, 0, 5, 5]], [0.5], [0])
    boxes = plain.boxes.bfloat16().requires_grad_()
    collector.update(batch_of([2]), [Detections(boxes, plain.scores.bfloat16(), plain.labels, plain.cells)])
    collector.update(batch_of([1]), [found()])
    table = collector.table()
    assert table.boxes.tolist() == [[0, 0, 5, 5]] and table.scores.tolist() == [0.5]
    assert table.images.tolist() == [1, 2] and table.owners.tolist() == [2]
