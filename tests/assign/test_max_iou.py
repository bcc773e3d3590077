"""Assignment by overlap: thresholds, low-quality matches, ties, ignored boxes."""

import torch

from headstart.assign.max_iou import IGNORED, NEGATIVE, MaxIoU
from headstart.structures import Targets


def truth(*boxes, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.arange(len(rows)), marks)


def strip(*ends):
    """Boxes ten pixels high, of the given widths: their IoU with one of width 10 is width / 10, or 10 / width."""
    return torch.tensor([[0.0, 0, end, 10] for end in ends])


TEN = (0, 0, 10, 10)


def test_thresholds():
    """From `pos_iou` on an object, below `neg_iou` background, between the two neither."""
    found = MaxIoU(0.5, 0.4)(strip(10, 5, 4.9, 4, 3.9, 20, 21, 25, 26), truth(TEN))
    assert found.tolist() == [0, 0, IGNORED, IGNORED, NEGATIVE, 0, IGNORED, IGNORED, NEGATIVE]


def test_the_largest_overlap_wins():
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 10], [3, 0, 13, 10]])
    found = MaxIoU(0.5, 0.4)(boxes, truth((1, 0, 11, 10), (30, 1, 40, 11), (4, 0, 14, 10)))
    assert found.tolist() == [0, 1, 2]


def test_a_rescue_gives_each_truth_its_best_boxes():
    """All of them where several overlap it equally, whatever the thresholds say; none below `min_pos_iou`."""
    boxes = strip(2, 2, 1, 40)
    assert MaxIoU(0.5, 0.3)(boxes, truth(TEN)).tolist() == [NEGATIVE] * 4
    assert MaxIoU(0.5, 0.3, min_pos_iou=0.0)(boxes, truth(TEN)).tolist() == [NEGATIVE, NEGATIVE, NEGATIVE, 0]
    assert MaxIoU(0.5, 0.3, min_pos_iou=0.25)(boxes, truth(TEN)).tolist() == [NEGATIVE, NEGATIVE, NEGATIVE, 0]
    assert MaxIoU(0.5, 0.3, min_pos_iou=0.26)(boxes, truth(TEN)).tolist() == [NEGATIVE] * 4
    assert MaxIoU(0.5, 0.3, min_pos_iou=0.1)(boxes[:3], truth(TEN)).tolist() == [0, 0, NEGATIVE]


def test_a_rescue_takes_a_box_from_a_truth_it_overlaps_more():
    """And of two truths that have the same best box the last one has it."""
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    assert MaxIoU(0.5, 0.4, min_pos_iou=0.0)(boxes, truth((0, 0, 10, 11), (0, 0, 10, 30))).tolist() == [1]
    assert MaxIoU(0.5, 0.4)(boxes, truth((0, 0, 10, 11), (0, 0, 10, 30))).tolist() == [0]
    assert MaxIoU(0.5, 0.4, min_pos_iou=0.0)(boxes, truth((0, 0, 10, 30), (0, 0, 10, 11))).tolist() == [1]


def test_a_truth_that_overlaps_nothing_rescues_nothing():
    found = MaxIoU(0.5, 0.4, min_pos_iou=0.0)(strip(10, 2), truth(TEN, (500, 500, 510, 510)))
    assert found.tolist() == [0, NEGATIVE]


def test_unusable_boxes_are_not_trained_and_rescued_by_nobody():
    usable = torch.tensor([False, True, True])
    found = MaxIoU(0.5, 0.4, min_pos_iou=0.0)(strip(10, 3, 2), truth(TEN), usable)
    assert found.tolist() == [IGNORED, 0, NEGATIVE]
    assert MaxIoU(0.5, 0.4)(strip(10, 3, 2), truth(), usable).tolist() == [IGNORED, NEGATIVE, NEGATIVE]


def test_ignored_truths_are_no_objects_and_what_they_cover_is_no_background():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 19], [0, 0, 10, 21], [50, 50, 60, 60], [0, 0, 4, 10]])
    found = MaxIoU(0.5, 0.4)(boxes, truth((0, 0, 10, 10), ignored=[0]))
    assert found.tolist() == [IGNORED, IGNORED, NEGATIVE, NEGATIVE, IGNORED]


def test_an_object_inside_a_crowd_is_found_under_its_own_index():
    """Indices are those of all annotations, ignored ones counted."""
    boxes = torch.tensor([[20.0, 20, 30, 30], [5, 5, 9, 9], [100, 100, 110, 110]])
    found = MaxIoU(0.5, 0.4)(boxes, truth((0, 0, 50, 50), (20, 20, 30, 31), ignored=[0]))
    assert found.tolist() == [1, IGNORED, NEGATIVE]


def test_nothing_to_find_and_nothing_to_find_it_with():
    assert MaxIoU(0.5, 0.4, 0.0)(strip(1, 2), truth()).tolist() == [NEGATIVE, NEGATIVE]
    assert MaxIoU(0.5, 0.4, 0.0)(torch.zeros(0, 4), truth(TEN)).tolist() == []
    assert MaxIoU(0.5, 0.4)(torch.zeros(0, 4), truth(TEN, ignored=[0])).dtype == torch.int64
