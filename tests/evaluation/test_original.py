"""From the padded input to the stored image."""

import pytest
import torch

from evaluation.scoring_cases import batch_of, found
from headstart.evaluation.original import to_original
from headstart.structures import Detections


def test_each_side_has_its_own_scale():
    detections = found([[10, 20, 30, 40]], [0.5], [1])
    mine = to_original(detections, batch_of([1], size=(100, 50), original=(300, 25)), 0)
    assert mine.boxes.tolist() == [[5, 60, 15, 120]]
    assert mine.scores is detections.scores and mine.labels is detections.labels


def test_boxes_are_clipped_to_the_stored_image():
    mine = to_original(found([[-5, -5, 500, 500]], [0.5], [1]), batch_of([1], (100, 200), (50, 100)), 0)
    assert mine.boxes.tolist() == [[0, 0, 100, 50]]


def test_an_unscaled_image_is_left_exactly():
    boxes = torch.rand(50, 4).cumsum(1) * 40
    mine = to_original(found(boxes.tolist(), [0.5] * 50, [0] * 50), batch_of([1]), 0)
    assert torch.equal(mine.boxes, boxes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_not_rounded_again(dtype):
    plain = found([[1, 1, 2, 2]], [0.5], [0])
    detections = Detections(plain.boxes.to(dtype), plain.scores, plain.labels, plain.cells)
    mine = to_original(detections, batch_of([1], (100, 100), (3001, 3001)), 0)
    assert mine.boxes[0, 0].item() == pytest.approx(30.01)


def test_no_detections():
    assert to_original(found(), batch_of([1]), 0).boxes.shape == (0, 4)
